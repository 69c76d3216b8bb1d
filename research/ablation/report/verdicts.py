"""What may be claimed of each cell: a verdict only where all planned runs are there and the planned test says so."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from research.ablation.report.entries import LEVEL, Column, Entry, Verdict
from research.ablation.statistics.comparison import Paired, alike, holm, paired
from research.ablation.statistics.divergence import divergence_p
from research.ablation.statistics.looking import look


def compared(measured: Sequence[Entry], column: Column) -> list[Entry]:
    """Return the entries of a column, each but the first compared with the first.

    Of a cell with a run that diverged, failed or is missing, in it or in the baseline, nothing is claimed: what is left
    is a selection. How often it diverges is tested by itself.
    """
    baseline, *others = measured
    comparisons = [paired(baseline.values, other.values, column.maximize is not False, LEVEL) for other in others]
    permutation = [comparison.permutation_p for comparison in comparisons]
    # Where all differences are equal there is no t, and the exact test speaks for it.
    defined = [comparison.permutation_p if comparison.constant else comparison.t_p for comparison in comparisons]
    holm_t, holm_permutation = _corrected(comparisons, defined), _corrected(comparisons, permutation)
    deciding = holm_t if column.test == "t" else holm_permutation
    within: Sequence[bool] = _within(comparisons, column)
    if column.looks:
        columns = [{seed: entry.values.get(seed, math.nan) for seed in column.seeds} for entry in measured]
        looked = look(columns[0], columns[1:], column.looks, column.alpha, column.margin)
        deciding, within = looked.p, looked.alike.tolist()
    diverging = holm([_divergence(baseline, other) for other in others])
    entries = [baseline]
    for index, (other, comparison) in enumerate(zip(others, comparisons, strict=True)):
        lost = len(column.seeds) - comparison.n
        entry = dataclasses.replace(other, verdict="open", lost=lost, divergence_p=float(diverging[index]))
        if comparison.n:
            entry = _tested(baseline, entry, comparison, column)
            marked = not lost and bool(deciding[index] < column.alpha)
            alike_too = not lost and bool(within[index])
            entry = dataclasses.replace(
                entry,
                holm_t_p=float(holm_t[index]),
                holm_permutation_p=float(holm_permutation[index]),
                corrected_p=float(deciding[index]),
                marked=marked,
                equivalent=None if column.margin is None else alike_too,
                verdict=_verdict(comparison.difference, marked, alike_too, column.maximize),
            )
        entries.append(entry)
    return entries


def sample_sd(values: np.ndarray) -> float:
    """Return the sample standard deviation, NaN for fewer than two values."""
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan


def _tested(baseline: Entry, entry: Entry, comparison: Paired, column: Column) -> Entry:
    """Return an entry with its comparison, and with how the paired differences spread."""
    if column.maximize is None:
        comparison = dataclasses.replace(comparison, better=math.nan)
    common = sorted(baseline.values.keys() & entry.values.keys())
    a, b = np.array([(baseline.values[seed], entry.values[seed]) for seed in common]).T
    spread, unpaired = sample_sd(np.array(comparison.differences)), sample_sd(a) ** 2 + sample_sd(b) ** 2
    ratio = spread**2 / unpaired if unpaired > 0 else math.nan
    return dataclasses.replace(entry, comparison=comparison, difference_sd=spread, variance_ratio=ratio)


def _within(comparisons: Sequence[Paired], column: Column) -> list[bool]:
    """Return which cells are equivalent to the baseline: two one-sided tests, corrected for all cells."""
    if column.margin is None:
        return [False] * len(comparisons)
    alpha = column.alpha / max(column.tests, 1)
    return [alike(comparison.differences, column.margin, alpha) for comparison in comparisons]


def _corrected(comparisons: Sequence[Paired], p_values: Sequence[float]) -> np.ndarray:
    """Return p-values by Holm's correction over all cells that can be compared, those without a p among them."""
    undefined = np.isnan(p_values)
    counted = np.where(undefined & np.array([comparison.n > 0 for comparison in comparisons], bool), 1.0, p_values)
    return np.where(undefined, np.nan, holm(counted))


def _divergence(baseline: Entry, other: Entry) -> float:
    """Return the p that two cells diverge equally often, over the seeds at which both runs ended; NaN without any."""
    ended = {*baseline.values, *baseline.diverged} & {*other.values, *other.diverged}
    if not ended:
        return math.nan
    return divergence_p(ended & set(baseline.diverged), ended & set(other.diverged))


def _verdict(difference: float, marked: bool, within: bool, maximize: bool | None) -> Verdict:
    """Return what may be claimed; a significant difference comes before a negligible one."""
    if not marked:
        return "equivalent" if within else "open"
    if maximize is None:
        return "different"
    return "better" if (difference > 0) == maximize else "worse"
