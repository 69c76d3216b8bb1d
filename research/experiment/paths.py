"""Dotted paths into a value: what there is below it, and what is at a path."""

from collections.abc import Iterator
from typing import Any

from research.fields import children, is_value


def leaves(node: Any, path: str = "", annotation: Any = Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield (dotted path, leaf, annotation) of `node`, down to the items of tuples."""
    inner = list(children(node, annotation))
    if not inner and not is_value(node):
        yield path, node, annotation
    for name, child, child_annotation in inner:
        yield from leaves(child, f"{path}.{name}" if path else name, child_annotation)


def value_at(node: Any, path: str) -> Any:
    """Return the value at a dotted path, which may go through the items of tuples."""
    for name in path.split("."):
        node = node[int(name)] if isinstance(node, tuple) else getattr(node, name)
    return node


def paths(node: Any, prefix: str = "") -> Iterator[str]:
    """Yield the dotted path of every field, values included."""
    for name, child, _ in children(node):
        yield prefix + name
        if is_value(child):
            yield from paths(child, f"{prefix}{name}.")


def under(path: str, name: str) -> str:
    """Return the dotted path of the child `name`."""
    return f"{path}.{name}" if path else name
