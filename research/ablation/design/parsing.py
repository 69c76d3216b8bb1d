"""Axes and spaces from text: ``--axis model.dropout=0,0.1,0.3``, ``--space optimizer.ema=uniform(0.9,0.999)``."""

import ast
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from research.ablation.design.axes import Axis, chain, one_at_a_time, product
from research.ablation.design.space import TOP, Quantile, choice, integers, log_uniform, uniform
from research.ablation.design.study import applied
from research.errors import UsageError, WrongTypeError, suggestion
from research.experiment import Experiment, replace
from research.fields import canonical, children

Space = Mapping[str, Quantile]

NUMBERS: dict[str, Callable[..., Quantile]] = {"uniform": uniform, "log_uniform": log_uniform, "integers": integers}


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


def parse_space(experiment: Experiment, texts: Iterable[str]) -> dict[str, Quantile]:
    """Return the space of texts such as ``optimizer.learning_rate=log_uniform(1e-4,1e-1)``.

    Distributions: uniform(LOW,HIGH), log_uniform(LOW,HIGH), integers(LOW,HIGH), choice(VALUE,VALUE,...).

    Raises:
        UsageError: a text has another form, or does not fit; names it.
    """
    space: dict[str, Quantile] = {}
    for text in texts:
        path, _, distribution = (part.strip() for part in text.partition("="))
        form = re.fullmatch(r"(\w+)\((.*)\)", distribution)
        if not path or form is None:
            raise UsageError(f'a space is path=log_uniform(low,high) or the like, not "{text}"')
        if path in space:
            raise UsageError(f"the space of {path} is given twice")
        try:
            space[path] = _distribution(experiment, path, *form.groups())
        except UsageError as error:
            raise type(error)(f"space {text}: {error}") from error
    check_space(experiment, space)
    return space


def _distribution(experiment: Experiment, path: str, kind: str, inner: str) -> Quantile:
    """Return the distribution that a text names."""
    if kind == "choice":
        return choice([overrides[path] for overrides in parse_axis(experiment, f"{path}={inner}")])
    if kind not in NUMBERS:
        raise UsageError(f'there is no distribution "{kind}"{suggestion(kind, (*NUMBERS, "choice"))}')
    try:
        low, high = ((int if kind == "integers" else float)(word) for word in inner.split(","))
    except ValueError:
        raise UsageError(f"{kind} takes two numbers, not ({inner})") from None
    return NUMBERS[kind](low, high)


def check_space(experiment: Experiment, space: Space) -> None:
    """Raise `UsageError` unless the least and the greatest values of a space fit the experiment."""
    if not space:
        raise UsageError("a search needs a space: at least one path and its distribution")
    for path, quantile in space.items():
        if not callable(quantile):
            raise UsageError(f"{path} needs uniform, log_uniform, integers or choice, not {quantile!r}")
    for u in (0.0, TOP):
        applied(experiment, {path: quantile(u) for path, quantile in space.items()}, "search")
