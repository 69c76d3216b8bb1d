"""What the entries of a batch mean, and what repeats among the examples."""

import dataclasses

SHOWN = 10  # names of classes in a line


@dataclasses.dataclass(frozen=True)
class Image:
    """Pixels [b, height, width, channels]."""

    height: int
    width: int
    channels: int

    def __str__(self) -> str:
        return f"image of {self.height} x {self.width} pixels, {self.channels} channel{'s' * (self.channels > 1)}"


@dataclasses.dataclass(frozen=True)
class Tokens:
    """Token ids [b, l], each below `ids`."""

    ids: int

    def __str__(self) -> str:
        return f"tokens, of {self.ids:,} ids"


@dataclasses.dataclass(frozen=True)
class Categorical:
    """One of several classes [b], or one for each step [b, l]; `names` are theirs in order, or none."""

    classes: int
    names: tuple[str, ...] = ()

    @property
    def range(self) -> tuple[int, int]:
        """The least and the greatest number that it can be."""
        return 0, self.classes - 1

    def __str__(self) -> str:
        return f"one of {self.classes} classes" + _listed(self.names)


@dataclasses.dataclass(frozen=True)
class Labels:
    """Several answers [b, labels]: 1, 0, or -1 where one is missing; `names` are theirs in order, or none."""

    labels: int
    names: tuple[str, ...] = ()

    @property
    def range(self) -> tuple[int, int]:
        """The least and the greatest number that each can be."""
        return -1, 1

    def __str__(self) -> str:
        return f"{self.labels} label{'s' * (self.labels > 1)}" + _listed(self.names)


@dataclasses.dataclass(frozen=True)
class Real:
    """Real numbers [b, size], [b, l, size] for each step, or [b] where there is one for an example."""

    size: int = 1
    meaning: str = ""

    def __str__(self) -> str:
        return f"{self.size} number{'s' * (self.size > 1)}" + (f": {self.meaning}" if self.meaning else "")


@dataclasses.dataclass(frozen=True)
class Integer:
    """A whole number [b] that is no class."""

    meaning: str

    def __str__(self) -> str:
        return self.meaning


@dataclasses.dataclass(frozen=True)
class Length:
    """How many steps [b] of the entry `of` count; the rest is padding."""

    of: str

    def __str__(self) -> str:
        return f"how many steps of {self.of} count"


@dataclasses.dataclass(frozen=True)
class Presence:
    """Where the entry `of` counts: bool, of the same shape."""

    of: str

    def __str__(self) -> str:
        return f"where {self.of} counts"


Meaning = Image | Tokens | Categorical | Labels | Real | Integer | Length | Presence


@dataclasses.dataclass(frozen=True)
class Schema:
    """The entries of a batch as `preprocess` returns it, by name, and the unit that repeats among the examples."""

    entries: dict[str, Meaning]
    unit: str | None = None
    """What several examples are of, such as a document, speaker or user, so that they depend on each other; None where
    no such thing is known."""

    def ranges(self) -> dict[str, tuple[int, int]]:
        """Return the least and the greatest number that each entry of classes or labels can hold."""
        return {name: of.range for name, of in self.entries.items() if isinstance(of, Categorical | Labels)}


def _listed(names: tuple[str, ...]) -> str:
    """Return the first few names, behind a colon."""
    return f": {', '.join(names[:SHOWN])}{', ...' * (len(names) > SHOWN)}" if names else ""
