"""Arithmetic of comparisons: several sides measured in turn, round by round."""

import statistics
from collections.abc import Mapping, Sequence

Turns = Mapping[str, Sequence[Sequence[float]]]
"""What was measured by side, in each round one number or several."""


def compare(turns: Turns, reference: str | None = None) -> dict[str, dict[str, float]]:
    """Return by side the least and the median number of all, and how many times those of the reference.

    `ratio` is the median over rounds of the ratio of a round's medians, so what slows both sides of a round down
    changes nothing; `min_ratio` is that of the least numbers of all rounds. Both are there if the reference is.
    """
    middles = {side: [statistics.median(turn) for turn in each] for side, each in turns.items()}
    every = {side: [number for turn in each for number in turn] for side, each in turns.items()}
    rows = {side: {"min": min(numbers), "median": statistics.median(numbers)} for side, numbers in every.items()}
    if reference in rows:
        for side, row in rows.items():
            pairs = zip(middles[side], middles[reference], strict=True)
            row["min_ratio"] = row["min"] / rows[reference]["min"]
            row["ratio"] = statistics.median(one / other for one, other in pairs)
    return rows


def in_turn(sides: Sequence[str], rounds: int) -> list[tuple[int, str]]:
    """Return round and side of every turn; in every second round the sides take theirs backwards."""
    return [(index, side) for index in range(rounds) for side in (sides if index % 2 == 0 else sides[::-1])]
