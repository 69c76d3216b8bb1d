"""Looking at a study more than once: what may be claimed at numbers of seeds that were fixed beforehand."""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from research.ablation.statistics.comparison import Values, alike, holm, paired
from research.errors import UsageError

Verdict = Literal["different", "equivalent", "open"]


class Looked(NamedTuple):
    """What several looks say of each cell, in the order of the cells."""

    p: np.ndarray
    """[cells] of the sign-flip test, corrected for looks and cells; NaN where no look could be taken."""
    alike: np.ndarray
    """[cells], whether a look found the cell equivalent to the baseline."""


def look(
    baseline: Values,
    others: Sequence[Values],
    looks: Sequence[int],
    alpha: float = 0.05,
    margin: float | None = None,
) -> Looked:
    """Return what is known of each cell after looking at the first looks[0] seeds, then looks[1], and so on.

    Running more seeds until something is significant finds something wherever one looks often enough. Here the numbers
    of seeds are fixed beforehand, and with K of them the least p-value of a cell so far times K is again a p-value, by
    Bonferroni's inequality, whenever one stops and whatever decides it. Holm's correction over cells follows. So the
    chance of calling any cell different that is not stays below `alpha`; likewise for equivalent, which takes two
    one-sided tests at alpha / (K cells) at some look.

    Args:
        baseline, others: values by seed of everything run so far; a run that diverged has NaN, one not done is absent.
            A look at which either column lacks a finite value says nothing of a cell: the survivors are a selection.
            A cell that was resolved may stop early.
        looks: increasing numbers of seeds, in the order of the seeds; the last is the most that will be run.
        alpha: chance of a false claim of each kind over all cells and looks.
        margin: differences below it count as none; None never calls a cell equivalent.
    """
    if not looks or list(looks) != sorted(set(looks)) or looks[0] < 1:
        raise UsageError(f"looks are increasing numbers of seeds, not {list(looks)}")
    level = alpha / (len(looks) * max(len(others), 1))
    p_values = np.full(len(others), np.nan)
    found = np.zeros(len(others), bool)
    order = sorted(baseline)
    for row, other in enumerate(others):
        for seeds in (order[:n] for n in looks if len(order) >= n):
            a, b = ({seed: values.get(seed, np.nan) for seed in seeds} for values in (baseline, other))
            comparison = paired(a, b)
            if not comparison.left_out:
                p_values[row] = np.fmin(p_values[row], comparison.permutation_p * len(looks))
                found[row] |= margin is not None and alike(comparison.differences, margin, level)
    counted = np.where(np.isnan(p_values), 1.0, np.minimum(p_values, 1.0))
    return Looked(np.where(np.isnan(p_values), np.nan, holm(counted)), found)


def resolved(
    baseline: Values,
    others: Sequence[Values],
    looks: Sequence[int],
    alpha: float = 0.05,
    margin: float | None = None,
) -> tuple[Verdict, ...]:
    """Return what may be claimed of each cell; the arguments are those of `look`."""
    found = look(baseline, others, looks, alpha, margin)
    return tuple(
        "different" if p < alpha else "equivalent" if same else "open"
        for p, same in zip(found.p, found.alike, strict=True)
    )
