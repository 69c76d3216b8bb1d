"""How a module or parameter is called in another library."""

import dataclasses
from collections.abc import Mapping


@dataclasses.dataclass(frozen=True)
class Part:
    """One of `count` equal parts, along the first axis, of what the other library keeps in one module."""

    module: str
    index: int
    count: int


@dataclasses.dataclass(frozen=True)
class InputsFirst:
    """A dense layer whose kernel has its inputs first there too; may be one of `count` equal parts, side by side."""

    module: str
    index: int = 0
    count: int = 1


@dataclasses.dataclass(frozen=True)
class Pointwise:
    """A dense layer that is a convolution of 1 x 1 pixels in the other library, or the other way round."""

    module: str


@dataclasses.dataclass(frozen=True)
class Flattened:
    """A dense layer after feature maps of so many `pixels`, which the other library flattens channel by channel."""

    module: str
    pixels: int


@dataclasses.dataclass(frozen=True)
class Array:
    """A parameter that is no kernel, bias or scale: its other name, and its shape there; -1 is whatever is left."""

    name: str
    shape: tuple[int, ...]


Entry = str | Part | InputsFirst | Pointwise | Flattened | Array
Names = Mapping[str, Entry]
"""Of our modules by dotted path, or of single parameters by theirs."""


def other_name(entry: Entry) -> str:
    """Return the name that an entry gives in the other library, of a module or of a parameter."""
    if isinstance(entry, str):
        return entry
    return entry.name if isinstance(entry, Array) else entry.module
