"""Dotted paths of parameters, such as "encoder.block_0": each stands for everything below it."""

from collections.abc import Collection, Iterable
from typing import Any

import flax

from research.errors import UsageError, suggestion

Key = tuple[str, ...]


def flat(tree: Any) -> dict[Key, Any]:
    """Return a tree of dictionaries as one, keyed by the names on the way to a leaf."""
    return flax.traverse_util.flatten_dict(tree)


def under(key: Key, path: str) -> bool:
    """Return whether a parameter is `path` or lies below it."""
    return key[: path.count(".") + 1] == tuple(path.split("."))


def source_of(key: Key, paths: Iterable[str | tuple[str, str]]) -> Key | None:
    """Return the parameter that one here is taken from by `paths`, each one of both or (source, here); None by none."""
    for path in paths:
        source, here = (path, path) if isinstance(path, str) else path
        if under(key, here):
            return (*source.split("."), *key[here.count(".") + 1 :])
    return None


def check_path(path: str, keys: Collection[Key], whose: str) -> None:
    """Raise `UsageError` naming the closest paths unless one of the parameters is `path` or lies below it."""
    if not any(under(key, path) for key in keys):
        paths = {".".join(key[: depth + 1]) for key in keys for depth in range(len(key))}
        raise UsageError(f'{whose} has no parameters "{path}"{suggestion(path, paths)}')
