"""How texts are written."""

import dataclasses
from typing import Annotated

from research.errors import UsageError
from research.fields import NonNegative, Positive, Range, Size, Switch, validate
from research.tokens import START

TEMPERATURE = 0.8
"""Of a language model, unless something else is said."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How texts are written, and where they end. What changes the logits does so in the order in which it stands here.

    Raises:
        UsageError: a number is out of its range, or is about drawing while there are beams.
    """

    tokens: Size = 100
    """Tokens to write at most."""
    repetition_penalty: Positive | None = None
    """Above 1, how much less likely a token becomes that is in prompt or text already."""
    temperature: Switch | None = None
    """Divides the logits before a token is drawn; 0 takes the likeliest. Default: 0.8, and 0 for an encoder-decoder."""
    top_k: Size | None = None
    """Draw among this many likeliest tokens."""
    top_p: Annotated[float, Range(0.0, 1.0, open_start=True)] | None = None
    """Draw among the fewest likeliest tokens that reach this probability."""
    min_p: Annotated[float, Range(0.0, 1.0)] | None = None
    """Draw among tokens at least this share as likely as the likeliest."""
    beams: Size = 1
    """Draw nothing, and keep this many best beginnings; with more than one a text is shown when all of it is there."""
    length_penalty: NonNegative = 0.0
    """With beams, how much longer texts are favoured: the exponent alpha of Wu et al. (2016)."""
    stop: tuple[str, ...] = ()
    """A text ends before the first of these that it comes to."""
    stop_tokens: tuple[int, ...] | None = None
    """Ids that end a text. Default: that of the project's tokenizers, where they have one."""
    start_token: int = START
    """Id with which an encoder-decoder begins to write."""
    window: Size | None = None
    """Tokens of context for a Transformer; default, and most, its max_length. When it is full, writing continues from
    its last half."""

    def __post_init__(self) -> None:
        validate(self)
        drawing = ("repetition_penalty", "temperature", "top_k", "top_p", "min_p")
        given = [name for name in drawing if getattr(self, name) is not None]
        if self.beams > 1 and given:
            raise UsageError(f"beams draw nothing: leave {' and '.join(given)} out, or set beams to 1")
        if "" in self.stop:
            raise UsageError("a stop text is empty: leave it out, or say where a text ends")
