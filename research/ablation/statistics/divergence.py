"""Whether a cell diverges more often than the baseline, seed by seed."""

from collections.abc import Collection

from scipy import stats


def divergence_p(baseline: Collection[int], other: Collection[int]) -> float:
    """Return the two-sided p of the exact test that both diverge equally often (McNemar, 1947).

    Args:
        baseline, other: the seeds at which each diverged, of those whose runs have ended in both.

    Of the seeds at which one diverged and the other did not, half would be the cell's; seeds at which both did, or
    neither, say nothing. 1 where there are no others, as of two that are equal.
    """
    only_baseline, only_other = len(set(baseline) - set(other)), len(set(other) - set(baseline))
    if not only_baseline + only_other:
        return 1.0
    return float(stats.binomtest(only_other, only_baseline + only_other).pvalue)
