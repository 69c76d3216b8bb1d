"""Parameters and running averages as another library's tensors, and back."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from research.errors import UsageError
from research.models.naming import Array, Entry, Flattened, InputsFirst, Names, Part, Pointwise, other_name

Tensors = dict[str, np.ndarray]

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}
LOOP = "layers"
"""Blocks of a Transformer with `scan`: their parameters have a leading axis, where others have `layer_0` and so on."""
COUNTERS = ("num_batches_tracked",)  # of PyTorch's batch normalization; nothing here depends on it


def to_tensors(variables: Mapping[str, Any], names: Names) -> Tensors:
    """Return tensors by their other names, kernels with the output channel first, as PyTorch has them.

    `variables` are all collections of the model by name: `params`, and `batch_stats` where there are some.

    Raises:
        UsageError: a parameter has no other name.
    """
    tensors: Tensors = {}
    parts: dict[str, list[np.ndarray]] = {}
    axes: dict[str, int] = {}
    for path, leaf in _leaves(variables).items():
        name, entry = _foreign(path, names)
        array = _as_there(np.asarray(leaf), entry)
        if isinstance(entry, Part | InputsFirst):
            parts.setdefault(name, [array] * entry.count)[entry.index] = array
            axes[name] = _divided(entry)
        else:
            tensors[name] = array
    return tensors | {name: np.concatenate(arrays, axes[name]) for name, arrays in parts.items()}


def tensor_shapes(variables: Mapping[str, Any], names: Names) -> dict[str, tuple[int, ...]]:
    """Return the shape of each tensor that `to_tensors` makes of these collections, abstract or not, by its name.

    Raises:
        UsageError: a parameter has no other name.
    """
    foreign = ((*_foreign(path, names), leaf) for path, leaf in _leaves(variables).items())
    return {name: _shape_there(leaf.shape, entry) for name, entry, leaf in foreign}


def tensor_names(variables: Mapping[str, Any], names: Names) -> set[str]:
    """Return the names of all tensors that `to_tensors` makes of these collections, abstract or not.

    Raises:
        UsageError: a parameter has no other name.
    """
    return {_foreign(path, names)[0] for path in _leaves(variables)}


def from_tensors(tensors: Mapping[str, np.ndarray], like: Mapping[str, Any], names: Names) -> dict[str, Any]:
    """Return `like`, collections of a model by name, abstract or not, with every leaf taken from another's tensors.

    Raises:
        UsageError: tensors are missing, left over, or of another shape; names them all.
    """
    leaves = _leaves(like)
    foreign = {path: _foreign(path, names) for path in leaves}
    wanted = tensor_names(like, names)
    given = {name for name in tensors if name.rpartition(".")[2] not in COUNTERS}
    misshapen: dict[str, str] = {}
    for path, (name, entry) in foreign.items():
        expected = _shape_there(leaves[path].shape, entry)
        if name in given and np.shape(tensors[name]) != expected:
            said = f'"{name}", {np.shape(tensors[name])} where {".".join(path)} needs {expected}'
            misshapen.setdefault(name, said)  # several parameters may be parts of one tensor
    faults = {
        "lack": [f'"{name}"' for name in sorted(wanted - given)],
        "have, and the model does not,": [f'"{name}"' for name in sorted(given - wanted)],
        "have in another shape": list(misshapen.values()),
    }
    if any(faults.values()):
        raise UsageError(f"the weights {'; they '.join(f'{what} {_listed(f)}' for what, f in faults.items() if f)}")
    taken = {}
    for path, leaf in leaves.items():
        name, entry = foreign[path]
        array = np.asarray(tensors[name])
        if isinstance(entry, Part | InputsFirst):
            array = np.split(array, entry.count, _divided(entry))[entry.index]
        taken[path] = _as_here(array, entry, leaf.shape).astype(leaf.dtype)
    whole = {path: [taken[part] for part in _apart(path, leaf)] for path, leaf in flatten_dict(dict(like)).items()}
    return unflatten_dict({path: np.stack(parts) if LOOP in path else parts[0] for path, parts in whole.items()})


def _leaves(variables: Mapping[str, Any]) -> dict[tuple[str, ...], Any]:
    """Return the leaves of nested dictionaries by path, the collection first; those of blocks in a loop one by one."""
    apart = [_apart(path, leaf) for path, leaf in flatten_dict(dict(variables)).items()]
    return {path: leaf for leaves in apart for path, leaf in leaves.items()}


def _apart(path: tuple[str, ...], leaf: Any) -> dict[tuple[str, ...], Any]:
    """Return a leaf, abstract or not, by its path; that of blocks in a loop by the paths that it has without one."""
    if LOOP not in path:
        return {path: leaf}
    at = path.index(LOOP)
    blocks = [jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype)] * leaf.shape[0]
    if not isinstance(leaf, jax.ShapeDtypeStruct):
        blocks = list(np.asarray(leaf))
    return {(*path[:at], f"layer_{index}", *path[at + 1 :]): block for index, block in enumerate(blocks)}


def _foreign(path: tuple[str, ...], names: Names) -> tuple[str, Entry]:
    """Return the other name of a leaf, and the entry it comes from."""
    *module, leaf = path[1:]
    whole, inside = ".".join(path[1:]), ".".join(module)
    if isinstance(entry := names.get(whole), Array):
        return entry.name, entry
    entry = names.get(inside)
    if entry is None or isinstance(entry, Array) or leaf not in LEAVES:
        raise UsageError(f'"{whole}" has no name in another library')
    return f"{other_name(entry)}.{LEAVES[leaf]}", entry


def _divided(entry: Part | InputsFirst) -> int:
    """Return the axis along which a tensor of the other library is divided into parts: that of the outputs."""
    return -1 if isinstance(entry, InputsFirst) else 0


def _shape_there(shape: tuple[int, ...], entry: Entry) -> tuple[int, ...]:
    """Return the shape of the other library's tensor that has a parameter of this shape in it."""
    there = list(_as_there(np.broadcast_to(np.False_, shape), entry).shape)
    if isinstance(entry, Part | InputsFirst):
        there[_divided(entry)] *= entry.count
    return tuple(there)


def _as_there(array: np.ndarray, entry: Entry) -> np.ndarray:
    """Return a parameter of ours with the axes of the other library."""
    if isinstance(entry, Array):
        return array.reshape(entry.shape)
    if isinstance(entry, InputsFirst):
        return array
    array = _outputs_first(array)
    match entry:
        case Pointwise():
            return _exchanged(array)
        case Flattened(pixels=pixels) if array.ndim == 2:
            return _regrouped(array, pixels)
    return array


def _as_here(array: np.ndarray, entry: Entry, shape: tuple[int, ...]) -> np.ndarray:
    """Return a parameter of the other library with our axes, in all of `shape`."""
    match entry:
        case Array():
            return array.reshape(shape)
        case InputsFirst():
            return array
        case Pointwise():
            array = _exchanged(array)
        case Flattened(pixels=pixels) if array.ndim == 2:
            array = _regrouped(array, array.shape[1] // pixels)
    return _outputs_last(array)


def _regrouped(weight: np.ndarray, groups: int) -> np.ndarray:
    """Return a weight [outputs, inputs] whose inputs came group by group with the first of every group first."""
    outputs, inputs = weight.shape
    return weight.reshape(outputs, groups, inputs // groups).swapaxes(1, 2).reshape(outputs, inputs)


def _exchanged(array: np.ndarray) -> np.ndarray:
    """Return the weight of a dense layer as that of a 1 x 1 convolution, or the other way round; all else as it is."""
    match array.shape:
        case outputs, inputs:
            return array.reshape(outputs, inputs, 1, 1)
        case outputs, inputs, 1, 1:
            return array.reshape(outputs, inputs)
    return array


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


def _listed(found: list[str]) -> str:
    """Return all of them in words."""
    *before, last = found
    return f"{', '.join(before)} and {last}" if before else last
