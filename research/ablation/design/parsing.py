"""Axes from text: ``--axis model.dropout=0,0.1,0.3 --axis model.channels=(8,16),(4,8)``."""

import ast
import json
from collections.abc import Iterable
from typing import Any

from research.ablation.design.axes import Axis, chain, one_at_a_time, product
from research.errors import UsageError, WrongTypeError
from research.experiment import Experiment, replace
from research.fields import canonical, children


def parse_axes(experiment: Experiment, texts: Iterable[str], grid: bool = False) -> Axis:
    """Return the axis of several texts: one change at a time, or every combination with `grid`."""
    axes = [parse_axis(experiment, text) for text in texts]
    return product(*axes) if grid else chain(*axes)


def parse_axis(experiment: Experiment, text: str) -> Axis:
    """Return one cell for each value of ``path=value,value,...``, each of the type of its field.

    A value is a Python or JSON literal (``0.1``, ``(8,16)``, ``true``, ``None``) or a bare string.

    Raises:
        UsageError: the text has another form, or a value does not fit; names axis, value and type.
    """
    path, equals, listed = text.partition("=")
    path = path.strip()
    if not equals:
        raise UsageError(f'an axis is path=value,value,..., not "{text}"')
    try:
        annotation = _annotation(experiment, path)
        return one_at_a_time({path: [_value(word, annotation, path) for word in _words(listed)]})
    except UsageError as error:
        raise type(error)(f"axis {text}: {error}") from error


def _annotation(experiment: Experiment, path: str) -> Any:
    """Return the annotation of the field at `path`, or raise naming the closest paths."""
    node, annotation = experiment, Any
    for name in path.split("."):
        inner = {field: (child, note) for field, child, note in children(node, annotation)}
        if name not in inner:
            replace(experiment, {path: None})
        node, annotation = inner[name]
    return annotation


def _words(text: str) -> list[str]:
    """Split at the commas outside brackets and quotes."""
    words, depth, quote = [""], 0, ""
    for character in text:
        if quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        depth += (character in "([{") - (character in ")]}") if not quote else 0
        if character == "," and not depth and not quote:
            words.append("")
        else:
            words[-1] += character
    if not all(word.strip() for word in words):
        raise UsageError("a value is missing")
    return [word.strip() for word in words]


def _value(word: str, annotation: Any, path: str) -> Any:
    """Return `word` as a value of the annotated field: as a literal if that fits, else as it stands."""
    try:
        return canonical(_literal(word), annotation, path)
    except WrongTypeError as error:
        try:
            return canonical(word, annotation, path)
        except UsageError:
            raise error from None


def _literal(word: str) -> Any:
    """Return what a Python or JSON literal stands for, lists as tuples; any other word as it is."""
    for read in (ast.literal_eval, json.loads):
        try:
            return _tuples(read(word))
        except (ValueError, SyntaxError, TypeError):
            pass
    return word


def _tuples(node: Any) -> Any:
    """Return `node` with every list as a tuple."""
    return tuple(_tuples(item) for item in node) if isinstance(node, list | tuple) else node
