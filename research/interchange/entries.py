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
class Array:
    """A parameter that is no kernel, bias or scale: its other name, and its shape there."""

    name: str
    shape: tuple[int, ...]


Names = Mapping[str, str | Part | Array]
"""Of our modules by dotted path, or of single parameters by theirs."""
