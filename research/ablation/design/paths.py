"""Dotted paths: how short one may be written, and whether two speak of the same field."""

from collections import Counter
from collections.abc import Iterable


def short_paths(paths: Iterable[str]) -> dict[str, str]:
    """Return each path's last component, or as many more as tell it from the others."""
    paths = set(paths)
    endings = Counter(ending for path in paths for ending in _endings(path))
    return {path: next((end for end in _endings(path) if endings[end] == 1), path) for path in paths}


def _endings(path: str) -> list[str]:
    """Return what a path may be shortened to, shortest first; the index of a tuple's item does not stand alone."""
    parts = path.split(".")
    shortest = 2 if parts[-1].isdecimal() else 1
    return [".".join(parts[-count:]) for count in range(shortest, len(parts) + 1)]


def overlap(a: str, b: str) -> bool:
    """Return whether two paths are the same or one lies below the other."""
    return f"{a}.".startswith(f"{b}.") or f"{b}.".startswith(f"{a}.")
