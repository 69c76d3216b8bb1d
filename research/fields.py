"""Fields of a value: what an annotation says about range and compilation, and the check that a value keeps to it.

A value is a frozen dataclass or a linen module whose fields are numbers, strings, tuples or values again. A plain
`float` field is an argument of the compiled program, so changing it never recompiles; every other field is part of
the program. The annotations below state the exceptions:

    dropout: Rate = 0.0            zero is part of the program, so what is off costs nothing; other values are arguments
    warmup: Count = 0              an integer that only enters arithmetic is an argument
    epsilon: Constant = 1e-5       a float that must be known when the program is compiled
"""

import dataclasses
import difflib
import functools
import math
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import numpy as np

from research.errors import WrongTypeError, WrongValueError, suggestion

Kind = Literal["argument", "switch", "program"]


@dataclasses.dataclass(frozen=True)
class Range:
    """Bounds of a number; `open_start` leaves `low` itself out, `open_end` leaves `high` out."""

    low: float = -math.inf
    high: float = math.inf
    open_end: bool = False
    open_start: bool = False

    def __contains__(self, number: float) -> bool:
        above = self.low < number if self.open_start else self.low <= number
        return above and (number < self.high if self.open_end else number <= self.high)

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"{'above' if self.open_start else 'at least'} {self.low:.12g}"
        return f"in {'(' if self.open_start else '['}{self.low:.12g}, {self.high:.12g}{')' if self.open_end else ']'}"


Constant = Annotated[float, "program"]
NonNegative = Annotated[float, Range(0.0)]
Positive = Annotated[float, Range(0.0, open_start=True)]
Fraction = Annotated[float, Range(0.0, 1.0, open_end=True)]
Switch = Annotated[float, "switch", Range(0.0)]
Rate = Annotated[float, "switch", Range(0.0, 1.0, open_end=True)]
Count = Annotated[int, "argument", Range(0, 2**31 - 1)]
Length = Annotated[int, "argument", Range(1, 2**31 - 1)]
Seed = Annotated[int, "argument", Range(0, 2**32 - 1)]
Size = Annotated[int, Range(1)]


LARGEST = float(np.finfo(np.float32).max)


class Placeholder:
    """Stands in a program where an argument goes; all holes are equal."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Placeholder)

    def __hash__(self) -> int:
        return hash(Placeholder)

    def __repr__(self) -> str:
        return "·"


def is_static_zero(number: Any) -> bool:
    """Return whether a switch is zero as part of the program; an argument counts as on, whatever it holds."""
    return isinstance(number, int | float) and number == 0


@functools.cache
def annotations(cls: type) -> dict[str, Any]:
    """Return the annotation of every field of `cls`, without linen's own bookkeeping fields."""
    hints = typing.get_type_hints(cls, include_extras=True)
    own = {"parent", "name"} if issubclass(cls, nn.Module) else set()
    return {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init and field.name not in own}


def is_value(node: Any) -> bool:
    """Return whether `node` has fields of its own."""
    return dataclasses.is_dataclass(node) and not isinstance(node, type)


def children(node: Any, annotation: Any = Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield (name, child, annotation) of a value's fields or a tuple's items; a leaf has none."""
    if is_value(node):
        for name, child_annotation in annotations(node.__class__).items():
            yield name, getattr(node, name), child_annotation
    elif isinstance(node, tuple):
        for index, (child, child_annotation) in enumerate(zip(node, _items(node, annotation), strict=True)):
            yield str(index), child, child_annotation


def rebuild(node: Any, changes: dict[str, Any]) -> Any:
    """Return `node` with the named children exchanged."""
    if not changes:
        return node
    if isinstance(node, nn.Module):
        return node.clone(**changes)
    if is_value(node):
        return dataclasses.replace(node, **changes)
    return tuple(changes.get(str(index), child) for index, child in enumerate(node))


def kind(leaf: Any, annotation: Any) -> Kind:
    """Return whether `leaf` is an argument of the compiled program or part of it."""
    bare, notes = _unwrap(annotation, leaf)
    if not isinstance(leaf, int | float) or isinstance(leaf, bool):
        return "program"
    declared = next((note for note in notes if note in typing.get_args(Kind)), None)
    if declared == "switch":
        return "argument" if leaf else "program"
    return declared or ("argument" if bare is float else "program")


def canonical(node: Any, annotation: Any, path: str) -> Any:
    """Return `node` as its annotation wants it, or raise naming `path`, the type it should have and what came.

    Integers given for a float become floats, and NumPy's scalars Python's. Tracers, arrays and holes, which only `join`
    and `split` put in place of an argument, pass unchecked.
    """
    if isinstance(node, Placeholder | jax.Array | np.ndarray):
        return node
    if isinstance(node, np.generic):
        node = node.item()
    bare, notes = _unwrap(annotation, node)
    if bare is float and isinstance(node, int | float) and not isinstance(node, bool):
        if abs(node) > LARGEST:
            raise WrongValueError(f"{path} must be finite in float32")
        node = float(node) + 0.0  # there are two zeros; this gives the positive one
    if isinstance(node, tuple) and typing.get_origin(bare) is tuple:
        return tuple(
            canonical(child, item, f"{path}.{index}")
            for index, (child, item) in enumerate(zip(node, _items(node, bare, path), strict=True))
        )
    if not _conforms(node, bare):
        choices = [] if typing.get_origin(bare) is not Literal else [str(choice) for choice in typing.get_args(bare)]
        hint = suggestion(str(node), choices) if difflib.get_close_matches(str(node), choices) else ""
        raise WrongTypeError(f"{path} must be {describe(annotation)}, not {_shown(node)}{hint}")
    if isinstance(node, float) and not math.isfinite(node):
        raise WrongValueError(f"{path} must be finite, not {node}")
    for bounds in (note for note in notes if isinstance(note, Range)):
        # A float is judged as the program will see it: 0.99999999 is 1 in float32.
        number = float(np.float32(node)) if isinstance(node, float) else node
        if isinstance(number, int | float) and number not in bounds:
            raise WrongValueError(f"{path} must be {bounds}, not {node!r}")
    return node


def validate(value: Any, path: str = "") -> None:
    """Check every field of `value` against its annotation, deeply; raise naming the dotted path of the first fault."""
    for name, child, annotation in children(value):
        where = f"{path}.{name}" if path else name
        accepted = canonical(child, annotation, where)
        if accepted is not child:
            object.__setattr__(value, name, accepted)
        _validate_items(accepted, where)


def _validate_items(node: Any, path: str) -> None:
    """Descend into a nested value, or into the values in a tuple."""
    if is_value(node):
        validate(node, path)
    elif isinstance(node, tuple):
        for index, child in enumerate(node):
            _validate_items(child, f"{path}.{index}")


def describe(annotation: Any) -> str:
    """Return an annotation in words, such as ``float in [0, 1)`` or ``"max" or "average"``."""
    if typing.get_origin(annotation) is Annotated:
        bare, *notes = typing.get_args(annotation)
        return " ".join([describe(bare), *(str(note) for note in notes if isinstance(note, Range))])
    if typing.get_origin(annotation) is Literal:
        return " or ".join(f'"{choice}"' for choice in typing.get_args(annotation))
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return " or ".join(describe(choice) for choice in typing.get_args(annotation))
    if typing.get_origin(annotation) is tuple:
        items = typing.get_args(annotation)
        return f"tuple of {describe(items[0])}" if items[-1] is ... else f"tuple of {len(items)}"
    return "None" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))


def _unwrap(annotation: Any, leaf: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return the bare type and the notes of an annotation; of a union, of the first member that `leaf` fits."""
    if typing.get_origin(annotation) is Annotated:
        bare, *notes = typing.get_args(annotation)
        return bare, tuple(notes)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        members = [_unwrap(member, leaf) for member in typing.get_args(annotation)]
        fitting = (member for member in members if _conforms(leaf, member[0]))
        return next(fitting, (annotation, ()))
    return annotation, ()


def _items(node: tuple[Any, ...], annotation: Any, path: str = "") -> list[Any]:
    """Return the annotation of each item of the tuple `node`."""
    bare, _ = _unwrap(annotation, node)
    arguments = typing.get_args(bare) if typing.get_origin(bare) is tuple else (Any, ...)
    if arguments[-1] is ...:
        return [arguments[0]] * len(node)
    if len(arguments) != len(node):
        raise WrongTypeError(f"{path} must have {len(arguments)} items, not {len(node)}")
    return list(arguments)


def _conforms(node: Any, bare: Any) -> bool:
    """Return whether `node` is of the bare type `bare`, at its outermost level."""
    origin = typing.get_origin(bare)
    if bare is Any:
        return True
    if origin is Literal:
        return any(node == choice and type(node) is type(choice) for choice in typing.get_args(bare))
    if origin in (typing.Union, types.UnionType):
        return any(_conforms(node, _unwrap(member, node)[0]) for member in typing.get_args(bare))
    if bare in (int, float):
        return isinstance(node, (int, float) if bare is float else int) and not isinstance(node, bool)
    try:
        return isinstance(node, origin or bare)
    except TypeError:  # a protocol or type variable, which cannot be checked at run time
        return True


def _shown(node: Any) -> str:
    """Return `node` with its type, for a message."""
    return f"{node!r} ({type(node).__name__})"
