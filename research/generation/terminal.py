"""Texts on standard output: piece by piece on a terminal, else each as a whole."""

import sys
from collections.abc import Iterable, Sequence

from research.generation.texts import Piece

RULE = 79 * "-"
"""Stands between two texts."""
CONTROLS = {code: "\ufffd" for code in (*range(32), *range(127, 160)) if chr(code) not in "\n\t"}
"""Characters that would do something to a terminal."""


def show(pieces: Iterable[Piece], beginnings: Sequence[str]) -> None:
    """Print what each text begins with, then its pieces, one text after the other.

    All texts are written at once, so those after the first are there soon after it.
    """
    live = sys.stdout.isatty()
    waiting = [[beginning] for beginning in beginnings]

    def put(text: str) -> None:
        """Print a part of a text."""
        print(text.translate(CONTROLS) if live else text, end="", flush=live)

    put(beginnings[0])
    for row, text in pieces:
        if row:
            waiting[row].append(text)
        else:
            put(text)
    print()
    for parts in waiting[1:]:
        print(RULE)
        put("".join(parts))
        print()
