"""Exchanging parts of a value, and telling how two values differ."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from research.errors import UnknownPathError, suggestion
from research.experiment.paths import paths
from research.fields import canonical, children, is_value, rebuild


def replace(experiment: Any, overrides: Mapping[str, Any]) -> Any:
    """Return `experiment` with the values at dotted paths exchanged.

    All of them are exchanged at once and the result is checked as a whole.

    Raises:
        UnknownPathError: a path does not exist; names the closest ones.
        WrongTypeError, WrongValueError: a value does not fit its field; names the path and what fits.
    """
    return _replace(experiment, {tuple(path.split(".")): value for path, value in overrides.items()}, experiment)


def _replace(
    node: Any, overrides: dict[tuple[str, ...], Any], root: Any, prefix: tuple[str, ...] = (), note: Any = Any
) -> Any:
    """Exchange the children that `overrides`, keyed by path below `node`, name; `root` is for suggestions."""
    inner = list(children(node, note))
    for path in overrides:
        if path[0] not in [name for name, _, _ in inner]:
            whole = ".".join((*prefix, *path))
            raise UnknownPathError(f'there is no "{whole}"{_closest(root, whole)}')
    changes = {}
    for name, child, annotation in inner:
        below = {path[1:]: value for path, value in overrides.items() if path[0] == name}
        path = (*prefix, name)
        if () in below:
            child = canonical(below.pop(()), annotation, ".".join(path))
            changes[name] = child
        if below:
            changes[name] = _replace(child, below, root, path, annotation)
    return rebuild(node, changes)


def _closest(experiment: Any, path: str) -> str:
    """Suggest paths like `path`: alike as a whole, or alike in the last name."""
    known = list(paths(experiment))
    last = path.split(".")[-1]
    same_name = [option for option in known if option.split(".")[-1] == last]
    return suggestion(path, same_name if len(same_name) == 1 else known)


def difference(a: Any, b: Any) -> list[str]:
    """Return the dotted paths at which two experiments differ; a whole value where its class differs."""
    return [path for path, _, _ in _differences(a, b)]


def explain(a: Any, b: Any) -> str:
    """Return the differences of two experiments, one a line: ``model.dropout: 0.1 -> 0.2``."""
    return "\n".join(f"{path}: {old!r} -> {new!r}" for path, old, new in _differences(a, b))


def _differences(a: Any, b: Any, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yield (path, value in a, value in b) wherever the two differ."""
    for (name, old, _), (_, new, _) in zip(compared(a), compared(b), strict=True):
        if _alike(old, new):
            yield from _differences(old, new, f"{prefix}{name}.")
        elif old != new:
            yield prefix + name, old, new


def compared(node: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield the children of a value but those that make no difference, such as where a file lies."""
    apart = {field.name for field in dataclasses.fields(node) if not field.compare} if is_value(node) else set()
    return (child for child in children(node) if child[0] not in apart)


def _alike(old: Any, new: Any) -> bool:
    """Return whether two nodes are values of one class, or tuples of such values, and so differ field by field."""
    if isinstance(old, tuple) and isinstance(new, tuple):
        return len(old) == len(new) > 0 and all(map(_alike, old, new))
    return is_value(old) and type(old) is type(new)
