"""A value as JSON and back, from a closed set of classes: nothing is imported by name."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator
from difflib import get_close_matches
from typing import Any

from research import data, models, optimization, tasks
from research.errors import UnknownClassError, UsageError, WrongTypeError, suggestion
from research.experiment.moved import modernize
from research.experiment.paths import under
from research.experiment.value import Experiment, Pretrained, Safety, Start
from research.fields import annotations, children, describe, is_value

Fields = Callable[[Any], Iterator[tuple[str, Any, Any]]]


def to_json(experiment: Any, indent: int | None = 2) -> str:
    """Return `experiment` as JSON, each value as its class name and fields; `WrongTypeError` on anything else."""
    return json.dumps(encode(experiment), indent=indent)


def from_json(text: str, known: Iterable[type] = ()) -> Any:
    """Return the experiment that `text` describes.

    A class name is looked up among the public classes of models, tasks, data and optimization, and those of `known`;
    nothing is imported. A field that `text` lacks takes its default.

    Raises:
        UsageError: not JSON, an unknown class or field, or a value that does not fit.
    """
    try:
        return _decode(json.loads(text), vocabulary(known))
    except UsageError:
        raise
    except (ValueError, RecursionError) as error:  # also an integer of too many digits, or lists in lists in lists
        raise UsageError(f"not valid JSON: {error}") from error


def vocabulary(known: Iterable[type] = ()) -> dict[str, type]:
    """Return the classes that JSON may name: the public ones of the four packages, and `known`."""
    public = [item for package in (models, tasks, data, optimization) for item in vars(package).values()]
    values: list[type] = [item for item in public if isinstance(item, type) and dataclasses.is_dataclass(item)]
    return {cls.__name__: cls for cls in (Experiment, Safety, Start, Pretrained, *values, *known)}


def classes(node: Any) -> set[type]:
    """Return the classes of `node` and of every value in it, for `known` of `from_json`."""
    inner = set[type]().union(*(classes(child) for _, child, _ in children(node)))
    return inner | {type(node)} if is_value(node) else inner


def encode(node: Any, path: str = "", annotation: Any = Any, fields: Fields = children) -> Any:
    """Return `node` as JSON types; of a value what `fields` yields: (dotted name, child, annotation)."""
    if is_value(node):
        tree: dict[str, Any] = {"class": type(node).__name__}
        for name, child, child_annotation in fields(node):
            *around, last = name.split(".")
            inside = tree
            for step in around:
                inside = inside[step]
            inside[last] = encode(child, under(path, name), child_annotation, fields)
        return tree
    if isinstance(node, tuple):
        items = children(node, annotation)
        return [encode(child, under(path, name), item, fields) for name, child, item in items]
    if node is None or isinstance(node, bool | int | float | str):
        return node
    raise WrongTypeError(f"{path} has no canonical form: {node!r} ({type(node).__name__}); use {describe(annotation)}")


def _decode(tree: Any, known: dict[str, type]) -> Any:
    """Return the value that JSON types describe."""
    if isinstance(tree, list):
        return tuple(_decode(item, known) for item in tree)
    if not isinstance(tree, dict):
        return tree
    name = tree.get("class")
    if not isinstance(name, str) or name not in known:
        close = suggestion(str(name), known) if get_close_matches(str(name), known) else ""
        raise UnknownClassError(
            f'unknown class "{name}"{close}; if it is of a module of yours, use the command of that module, '
            f"`--experiment MODULE` of research.weights, or known={{{name}}} from Python"
        )
    cls = known[name]
    modernize(tree, cls)
    for field in tree.keys() - {"class"} - annotations(cls).keys():
        raise UsageError(f'{name} has no field "{field}"{suggestion(field, annotations(cls))}')
    fields = {field: _decode(item, known) for field, item in tree.items() if field != "class"}
    try:
        return cls(**fields)
    except TypeError as error:
        raise UsageError(f"{name}: {error}") from error
