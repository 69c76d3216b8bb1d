"""Parameters and running averages as another library's tensors, and back."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from research.errors import UsageError
from research.interchange.entries import Array, Names, Part

Tensors = dict[str, np.ndarray]

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
COUNTERS = ("num_batches_tracked",)  # of PyTorch's batch normalization; nothing here depends on it


def to_tensors(variables: Mapping[str, Any], names: Names) -> Tensors:
    """Return tensors by their other names, kernels with the output channel first, as PyTorch has them.

    `variables` are all collections of the model by name: `params`, and `batch_stats` where there are some.

    Raises:
        UsageError: a parameter has no other name.
    """
    tensors: Tensors = {}
    parts: dict[str, list[np.ndarray]] = {}
    for path, leaf in _leaves(variables).items():
        name, entry = _foreign(path, names)
        array = np.asarray(leaf)
        if isinstance(entry, Array):
            tensors[name] = array.reshape(entry.shape)
            continue
        array = _outputs_first(array)
        if isinstance(entry, Part):
            parts.setdefault(name, [array] * entry.count)[entry.index] = array
        else:
            tensors[name] = array
    return tensors | {name: np.concatenate(arrays) for name, arrays in parts.items()}


def from_tensors(tensors: Mapping[str, np.ndarray], like: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """Return `like`, all collections of a model by name, with every leaf taken from another library's tensors.

    Raises:
        UsageError: a tensor is missing, left over, or of another shape; names the first few.
    """
    leaves = _leaves(like)
    foreign = {path: _foreign(path, names) for path in leaves}
    wanted = {name for name, _ in foreign.values()}
    given = {name for name in tensors if name.rpartition(".")[2] not in COUNTERS}
    for found, what in ((wanted - given, "lack"), (given - wanted, "have, and the model does not,")):
        if found:
            raise UsageError(f"the weights {what} {_listed(found)}")
    taken = {}
    for path, leaf in leaves.items():
        name, entry = foreign[path]
        array = np.asarray(tensors[name])
        if isinstance(entry, Part):
            array = np.array_split(array, entry.count)[entry.index]
        if isinstance(entry, Array):
            expected, array = entry.shape, array if array.shape != entry.shape else array.reshape(leaf.shape)
        else:
            expected = _outputs_first(np.empty(leaf.shape, np.bool_)).shape
            array = _outputs_last(array)
        if array.shape != leaf.shape:
            raise UsageError(f'tensor "{name}" is {tensors[name].shape}, but {".".join(path)} needs {expected}')
        taken[path] = array.astype(leaf.dtype)
    return unflatten_dict(taken)


def _leaves(variables: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    """Return the leaves of nested dictionaries by path, the collection first."""
    return flatten_dict(dict(variables))


def _foreign(path: tuple[str, ...], names: Names) -> tuple[str, str | Part | Array]:
    """Return the other name of a leaf, and the entry it comes from."""
    *module, leaf = path[1:]
    whole, inside = ".".join(path[1:]), ".".join(module)
    if isinstance(entry := names.get(whole), Array):
        return entry.name, entry
    entry = names.get(inside)
    if entry is None or isinstance(entry, Array) or leaf not in LEAVES:
        raise UsageError(f'"{whole}" has no name in another library')
    return f"{entry.module if isinstance(entry, Part) else entry}.{LEAVES[leaf]}", entry


def _outputs_first(array: np.ndarray) -> np.ndarray:
    """Return a kernel [..., inputs, outputs] as [outputs, inputs, ...]; a vector as it is."""
    match array.ndim:
        case 4:
            return array.transpose(3, 2, 0, 1)
        case 2:
            return array.transpose()
    return array


def _outputs_last(array: np.ndarray) -> np.ndarray:
    """Return a kernel [outputs, inputs, ...] as [..., inputs, outputs]; a vector as it is."""
    match array.ndim:
        case 4:
            return array.transpose(2, 3, 1, 0)
        case 2:
            return array.transpose()
    return array


def _listed(found: set[str]) -> str:
    """Return up to three names, and how many more there are."""
    first = ", ".join(f'"{name}"' for name in sorted(found)[:3])
    return first if len(found) <= 3 else f"{first} and {len(found) - 3} more"
