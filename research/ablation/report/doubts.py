"""Where a verdict is withheld or doubtful, and why, in sentences."""

from collections.abc import Iterable, Iterator, Sequence

from research.ablation.report.entries import TESTS, Column, Entry, Row
from research.ablation.report.numbers import p_text, plural

UNLIKE = 3.0
"""How many times the standard deviation of one column is that of the other before symmetry is in doubt."""

Entries = Sequence[tuple[Row, Entry]]


def doubts(column: Column, entries: Entries) -> Iterator[str]:
    """Yield what speaks against the verdicts of a column; the first entry is the baseline's."""
    (_, baseline), *others = entries
    if held := _names((row, entry) for row, entry in others if entry.lost and entry.comparison is not None):
        yield f"Nothing is claimed of {held}: pairs of runs are missing, and those that are left are a selection."
    yield from (
        _divergence(column, baseline, row, entry) for row, entry in others if baseline.diverged or entry.diverged
    )
    judged = [(row, entry) for row, entry in others if entry.comparison is not None and not entry.lost]
    if equal := _names((row, entry) for row, entry in judged if _constant(entry) and entry.corrected_p < 1):
        yield f"All differences of {equal} are equal, so there is no t: the permutation test decides."
    enough = column.floor is not None and len(column.seeds) >= column.floor
    if enough and not column.looks and (split := _names(pair for pair in judged if _disagree(column, pair[1]))):
        yield (
            f"The paired t test and the permutation test disagree about {split}: the {TESTS[column.test]} test "
            "decides, and the verdict is doubtful."
        )
    if unlike := _names((row, entry) for row, entry in judged if entry.marked and _unlike(baseline, entry)):
        yield (
            f"The values of {unlike} spread more than {UNLIKE:g} times as much as the baseline's, or as little. Both "
            "tests take differences to be symmetric, which then they are only if the values are: of skewed values they "
            "claim too much, as of exponential ones in 10 of 100 comparisons over 8 seeds, instead of 5."
        )


def diverging(column: Column, entries: Entries) -> Iterator[str]:
    """Yield which cells diverge more or less often than the baseline, beyond chance."""
    (_, baseline), *others = entries
    found = [(row, entry) for row, entry in others if entry.divergence_p < column.alpha]
    for which, more in (("more", True), ("less", False)):
        cells = ((row, entry) for row, entry in found if (len(entry.diverged) > len(baseline.diverged)) == more)
        if names := _names(cells):
            yield f"Diverges {which} often than the baseline: {names}."


def _names(entries: Iterable[tuple[Row, Entry]]) -> str:
    """Return the names of rows."""
    return "; ".join(row.name for row, _ in entries)


def _divergence(column: Column, baseline: Entry, row: Row, entry: Entry) -> str:
    """Return how often a cell diverged, and whether that is more than chance."""
    counts = f"{len(entry.diverged)} of {plural(entry.planned, 'seed')}, the baseline in {len(baseline.diverged)}"
    p = p_text(entry.divergence_p, column.alpha)
    return f"{row.name} diverged in {counts}: p {p} by the exact McNemar test over seeds, corrected by Holm."


def _constant(entry: Entry) -> bool:
    """Return whether all paired differences are equal."""
    return entry.comparison is not None and entry.comparison.constant


def _disagree(column: Column, entry: Entry) -> bool:
    """Return whether one test claims a difference that the other does not."""
    return (entry.holm_t_p < column.alpha) != (entry.holm_permutation_p < column.alpha)


def _unlike(baseline: Entry, entry: Entry) -> bool:
    """Return whether one column spreads far more than the other."""
    low, high = sorted((baseline.sd, entry.sd))
    return not _constant(entry) and high > UNLIKE * low
