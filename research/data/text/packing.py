"""Several texts in one window: which lies where, so that little of a window is padding."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Piece(NamedTuple):
    """A part of a text: targets `start` + 1 to `start` + `length` of all tokens, laid into a window from `place` on."""

    start: int
    length: int
    window: int
    place: int


def pack(starts: Sequence[int], ends: Sequence[int], size: int) -> list[Piece]:
    """Return where each text goes, whose tokens are `starts[i]` to `ends[i]` of all, in windows of `size` targets.

    A text with more targets than a window has is cut into pieces. The longest piece is placed first, each into the
    window with the least room that holds it, so that few tokens are padding and none is left out: Ding et al., "Fewer
    truncations improve language modeling" (2024, section 3). A function of the lengths alone.
    """
    parts = [
        (begin, min(size, end - 1 - begin))
        for start, end in zip(starts, ends, strict=True)
        for begin in range(start, end - 1, size)
    ]
    windows = 0
    open_by_room: list[list[int]] = [[] for _ in range(size + 1)]
    rooms = 0  # bit r is set where a window has room for r targets, so that the least that is enough is found at once
    placed = []
    for begin, length in sorted(parts, key=lambda part: (-part[1], part[0])):
        enough = rooms >> length
        if enough:
            room = length + (enough & -enough).bit_length() - 1
            window = open_by_room[room].pop()
            if not open_by_room[room]:
                rooms ^= 1 << room
        else:
            room, window, windows = size, windows, windows + 1
        placed.append(Piece(begin, length, window, size - room))
        if left := room - length:
            open_by_room[left].append(window)
            rooms |= 1 << left
    return placed


def lay(values: np.ndarray, pieces: Sequence[Piece], size: int, shift: int = 0) -> np.ndarray:
    """Return windows [w, size] with the values [n] of each piece's tokens where it lies, or of those `shift` later."""
    windows = np.zeros((1 + max(piece.window for piece in pieces), size), values.dtype)
    for start, length, window, place in pieces:
        windows[window, place : place + length] = values[start + shift : start + shift + length]
    return windows


def numbers(pieces: Sequence[Piece], size: int) -> np.ndarray:
    """Return which text of its window each step belongs to, 1, 2, ... from the left, 0 for padding: [w, size]."""
    first = np.zeros((1 + max(piece.window for piece in pieces), size), np.int32)
    counts = np.zeros(len(first), np.int32)
    for _, length, window, place in pieces:
        first[window, place] = 1
        counts[window] = max(counts[window], place + length)
    return np.where(np.arange(size) < counts[:, None], np.cumsum(first, axis=1), 0)
