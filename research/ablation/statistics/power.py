"""How many seeds a comparison needs, before it is run.

After Colas, Sigaud and Oudeyer, "How many random seeds? Statistical power analysis in deep reinforcement learning
experiments", 2018: a standard deviation from a few seeds is itself uncertain, so the answer comes with an interval.
"""

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from research.ablation.statistics.comparison import Interval
from research.errors import UsageError


def power(sd: ArrayLike, effect: ArrayLike, n: ArrayLike, alpha: float = 0.05) -> Any:
    """Return the chance that a two-sided paired t test over `n` seeds finds a mean difference of `effect`.

    With `sd` the standard deviation of the differences, t has n - 1 degrees of freedom and noncentrality
    effect / sd * sqrt(n). Exact for normal differences; NaN for n < 2. For one of m tests corrected by Holm, alpha / m
    gives a lower bound.
    """
    sd, effect, n = (np.asarray(x, np.float64) for x in (sd, effect, n))
    if not ((sd > 0).all() and 0 < alpha < 1):
        raise UsageError(f"power needs sd above 0 and alpha in (0, 1), not sd={sd} and alpha={alpha}")
    freedom = np.where(n < 2, np.nan, n - 1)
    shift = np.minimum(np.abs(effect) / sd * np.sqrt(n), 1e4)  # SciPy's series fails far beyond, where power is 1
    critical = stats.t.isf(alpha / 2, freedom)
    # The other tail by symmetry: SciPy's cdf of it is NaN for many a shift above 3.
    return stats.nct.sf(critical, freedom, shift) + stats.nct.sf(critical, freedom, -shift)


def seeds_needed(sd: float, effect: float, target: float = 0.8, alpha: float = 0.05) -> int:
    """Return the fewest seeds at which `power(sd, effect, n, alpha)` reaches `target`."""
    if not (effect and alpha < target < 1):
        raise UsageError(f"seeds_needed needs an effect other than 0 and alpha < target < 1, not {effect} and {target}")
    high = 2
    while power(sd, effect, high, alpha) < target:
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power(sd, effect, middle, alpha) >= target else (middle, high)
    return high


def difference_sd(sd: float, correlation: float) -> float:
    """Return the standard deviation of paired differences, sd sqrt(2 (1 - correlation)), both columns having `sd`."""
    if not -1 <= correlation < 1:
        raise UsageError(f"a correlation over seeds must be in [-1, 1), not {correlation}")
    return sd * math.sqrt(2 * (1 - correlation))


def sd_interval(sd: float, n: int, level: float = 0.95) -> Interval:
    """Return the interval of a standard deviation `sd` from `n` normal values, as (n - 1) s² / σ² is chi-square."""
    if n < 2:
        raise UsageError(f"a standard deviation needs at least 2 values, not {n}")
    low, high = stats.chi2.ppf(((1 + level) / 2, (1 - level) / 2), n - 1)
    return Interval(float(sd * math.sqrt((n - 1) / low)), float(sd * math.sqrt((n - 1) / high)))


@dataclasses.dataclass(frozen=True)
class Forecast:
    """What a comparison will need."""

    sd: float
    """Estimated standard deviation of the paired differences."""
    sd_interval: Interval
    """What it may be, given how few values it comes from."""
    seeds: int
    """Seeds needed at the estimate."""
    seeds_interval: tuple[int, int]
    """Seeds needed at either end of the interval."""


def forecast(
    values: ArrayLike,
    effect: float,
    correlation: float = 0.0,
    target: float = 0.8,
    alpha: float = 0.05,
    level: float = 0.95,
) -> Forecast:
    """Return the seeds needed to find a mean difference of `effect`, from the baseline's values at a few seeds.

    Args:
        values: [n] of the baseline; the other cell is taken to spread alike.
        effect: mean difference worth finding.
        correlation: of the two cells over seeds, taken as known; 0 promises nothing from pairing.
        target, alpha: as in `seeds_needed`.
        level: of the intervals.
    """
    values = np.asarray(values, np.float64)
    n = values.size
    if n < 2 or not np.isfinite(values).all() or (values == values[0]).all():
        raise UsageError(f"a forecast needs at least 2 finite values that differ, not {values.tolist()}")
    return forecast_of(difference_sd(float(values.std(ddof=1)), correlation), n, effect, target, alpha, level)


def forecast_of(
    sd: float, n: int, effect: float, target: float = 0.8, alpha: float = 0.05, level: float = 0.95
) -> Forecast:
    """Return the seeds needed, as `forecast`, from the standard deviation of `n` paired differences themselves."""
    bounds = sd_interval(sd, n, level)
    low, high = (seeds_needed(bound, effect, target, alpha) for bound in bounds)
    return Forecast(sd, bounds, seeds_needed(sd, effect, target, alpha), (low, high))
