"""A text that grows token by token, and what of it is decided."""

from collections.abc import Callable, Sequence

REPLACEMENT = "\ufffd"
"""What decoders write for bytes that are no character, or not yet."""


class Spelling:
    """One text. All its tokens are decoded each time, with those of the prompt: neighbours decide how one reads.

    Args:
        decode: gives the text of token ids.
        prompt: ids that stand before the text.
        stop: texts before which it ends.
        ends: ids that end it, and are no part of it.
    """

    def __init__(
        self, decode: Callable[[list[int]], str], prompt: Sequence[int], stop: Sequence[str], ends: Sequence[int]
    ) -> None:
        self.ended = False
        self._decode, self._stop, self._ends = decode, stop, ends
        self._ids = list(prompt)
        self._prompt = len(decode(self._ids)) if self._ids else 0
        self._given = ""

    def add(self, token: int, last: bool) -> str:
        """Return what another token adds to what is decided; the `last` one ends the text."""
        self.ended = last or token in self._ends
        if token not in self._ends:
            self._ids.append(token)
        text = self._decode(self._ids)[self._prompt :]
        places = [place for place in map(text.find, self._stop) if place >= 0]
        if places:
            self.ended, text = True, text[: min(places)]
        if not self.ended:
            text = text.rstrip(REPLACEMENT)
            text = text[: len(text) - self._beginning_of_a_stop(text)]
        new = text[len(self._given) :]
        self._given += new
        return new

    def _beginning_of_a_stop(self, text: str) -> int:
        """Return how many characters at the end of a text may become one to stop at."""
        return max(
            (size for stop in self._stop for size in range(1, len(stop)) if text.endswith(stop[:size])), default=0
        )
