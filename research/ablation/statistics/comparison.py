"""Comparisons over seeds: intervals, paired tests, and corrections for many of them.

Values of a run that diverged are not finite. `paired` leaves them out and counts them, so that a report can say so;
on arrays they make the answer NaN. Where variance is needed and there is none it is NaN too: equal values say nothing
about their spread.
"""

import dataclasses
import functools
import math
import warnings
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from research.errors import UsageError

Values = Mapping[int, float]
"""The values of a metric by seed."""

EXACT = 16  # seeds up to which all sign flips are counted: 2^15 sums, as the sign of the first cancels
NOISE = 2.0**-40  # of the values: far above the rounding of float64, far below what float32 metrics resolve
SAMPLED = 19_999  # flips drawn beyond that, so that the least p-value is 1 / 20,000


class Interval(NamedTuple):
    """Two bounds, NaN where they are undefined."""

    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Paired:
    """A cell against the baseline, seed by seed. A difference is the cell's value minus the baseline's."""

    n: int
    """Seeds that both have, with finite values."""
    left_out: int
    """Seeds that only one has, or where a value is not finite."""
    difference: float
    """Mean difference; NaN for n = 0."""
    interval: Interval
    """t interval of the mean difference; NaN for n < 2 and where all differences are equal."""
    t_p: float
    """p of the paired t test, two-sided; 1 where all differences are zero, NaN where they are otherwise equal."""
    permutation_p: float
    """p of the sign-flip test, two-sided; NaN for n = 0."""
    effect: float
    """Mean difference in standard deviations of the differences (dz); 0 if all are zero, NaN if otherwise equal."""
    better: float
    """Share of seeds in which the cell is better than the baseline; a tie counts half."""
    correlation: float
    """Pearson correlation of the two columns over seeds; NaN for n < 3 and where a column is constant."""
    differences: tuple[float, ...] = ()
    """By seed, ascending; without what is floating point's."""

    @property
    def constant(self) -> bool:
        """Whether all differences are equal, so that they have no spread and t is not defined."""
        return self.n > 1 and len(set(self.differences)) == 1


def mean(values: ArrayLike) -> Any:
    """Return the mean over the last axis; NaN where it is empty."""
    values = np.asarray(values, np.float64)
    return values.mean(axis=-1) if values.shape[-1] else np.full(values.shape[:-1], np.nan)[()]


def t_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Return the interval mean ± t s / sqrt(n) over the last axis, t with n - 1 degrees of freedom (Student, 1908).

    It covers the mean of normal values with probability `level`. NaN for n < 2 and where all values are equal.
    """
    return _student(values, level).interval


def t_test(differences: ArrayLike) -> Any:
    """Return the two-sided p of Student's t test that the mean over the last axis is zero.

    Exact for normal differences. 1 where all are zero; NaN for n < 2 and where all are equal but not zero.
    """
    return _student(differences).p


def sign_flip(differences: ArrayLike, tolerance: float | None = None, seed: int = 0) -> Any:
    """Return the two-sided p of the sign-flip test over the last axis (Fisher, "The Design of Experiments", 1935).

    The share of the 2^n ways to choose the signs of the differences that give a sum at least as far from zero; ties
    count, sums within `tolerance` being equal (default: 2^-40 of the sum of absolute differences). Exact for any
    distribution of differences that is symmetric about zero under the null hypothesis, as it is where the two cells
    could be exchanged; it cannot be less than 2 / 2^n. Beyond 16 seeds a sample of 19,999 ways, drawn from `seed`,
    with the observed one added (Phipson and Smyth, "Permutation P-values should never be zero", 2010). NaN for n = 0
    and where a difference is not finite.
    """
    differences = np.asarray(differences, np.float64)  # [..., n]
    n = differences.shape[-1]
    if not n:
        return np.full(differences.shape[:-1], np.nan)[()]
    flips = _all_signs(n) if n <= EXACT else np.random.default_rng(seed).choice((-1.0, 1.0), (SAMPLED, n))
    finite = np.isfinite(differences).all(axis=-1)
    differences = np.where(finite[..., None], differences, 0.0)
    slack = NOISE * np.abs(differences).sum(axis=-1, keepdims=True) if tolerance is None else tolerance
    sums = np.abs(differences @ flips.T)  # [..., flips]
    hits = (sums >= np.abs(differences.sum(axis=-1, keepdims=True)) - slack).sum(axis=-1)
    p = hits / len(flips) if n <= EXACT else (hits + 1) / (len(flips) + 1)
    return np.where(finite, p, np.nan)[()]


def paired(baseline: Values, other: Values, maximize: bool = True, level: float = 0.95) -> Paired:
    """Compare a cell with the baseline on the seeds that both have.

    Args:
        baseline, other: values by seed; those that are not finite are left out.
        maximize: whether more is better.
        level: of the interval.

    Differences of less than 2^-40 of the greatest value are floating point's, and count as none.
    """
    common = [
        seed for seed in sorted(baseline.keys() & other.keys()) if np.isfinite([baseline[seed], other[seed]]).all()
    ]
    a, b = (np.array([values[seed] for seed in common], np.float64) for values in (baseline, other))
    noise = NOISE * float(np.abs([a, b]).max(initial=0.0))
    differences = _settled(b - a, noise)
    better = differences if maximize else -differences
    student = _student(differences, level)
    return Paired(
        n=len(common),
        left_out=len(baseline.keys() | other.keys()) - len(common),
        difference=float(mean(differences)),
        interval=Interval(*map(float, student.interval)),
        t_p=float(student.p),
        permutation_p=float(sign_flip(differences, noise * len(common))),
        effect=float(student.effect),
        better=float(mean((better > 0) + 0.5 * (better == 0))),
        correlation=_correlation(a, b),
        differences=tuple(differences.tolist()),
    )


def effect_size(differences: ArrayLike) -> Any:
    """Return mean / standard deviation over the last axis, called dz for paired differences.

    0 where all are zero; NaN for n < 2 and where all are equal but not zero.
    """
    return _student(differences).effect


def holm(p_values: ArrayLike) -> np.ndarray:
    """Return p-values corrected so that the chance of any false claim stays below alpha (Holm, 1979).

    They may depend on each other in any way. NaN stays NaN and does not count as a test.
    """
    p_values = np.asarray(p_values, np.float64)
    corrected = np.full(p_values.shape, np.nan)
    order = np.argsort(p_values)[: np.isfinite(p_values).sum()]  # NaN sorts last
    scaled = p_values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(scaled), 1.0)
    return corrected


def benjamini_hochberg(p_values: ArrayLike) -> np.ndarray:
    """Return p-values corrected so that the expected share of false claims stays below alpha: for screens.

    Benjamini and Hochberg, 1995; for tests that are independent or positively dependent. NaN stays NaN and does not
    count as a test.
    """
    p_values = np.asarray(p_values, np.float64)
    corrected = np.full(p_values.shape, np.nan)
    tested = np.isfinite(p_values)
    if tested.any():
        corrected[tested] = stats.false_discovery_control(p_values[tested])
    return corrected


def minimum_seeds(tests: int, alpha: float = 0.05) -> int:
    """Return the fewest seeds at which a sign-flip test, the most significant of `tests` by Holm, can reach `alpha`.

    That is the least n with 2 / 2^n <= alpha / tests. With fewer, no exact claim is possible, whatever the differences.
    """
    if tests < 1 or not 0 < alpha < 1:
        raise UsageError(f"minimum_seeds needs at least 1 test and alpha in (0, 1), not {tests} and {alpha}")
    return next(n for n in range(1, 2000) if 2.0 ** (1 - n) * tests <= alpha)


def equivalent(interval: Interval, margin: float) -> bool:
    """Return whether an interval lies within (-margin, margin); False where it is NaN.

    With an interval of level 1 - 2 alpha this is the two one-sided tests at `alpha` (Schuirmann, 1987); an interval of
    level 1 - alpha is stricter.
    """
    if not margin > 0:
        raise UsageError(f"a margin of equivalence must be above 0, not {margin}")
    return bool(-margin < interval.low and interval.high < margin)


def alike(differences: ArrayLike, margin: float, alpha: float) -> bool:
    """Return whether [n] differences are equivalent to none: two one-sided tests at `alpha`.

    t tests, by an interval of level 1 - 2 alpha (`equivalent`). Where all differences are equal t is not defined, and
    the exact sign-flip tests decide: of the 2^n signs of their distances to a bound, all of one sign, one reaches the
    observed sum, so p is 2^-n at either bound.
    """
    differences = np.asarray(differences, np.float64)
    n = differences.size
    if n > 1 and (differences == differences[0]).all():
        return bool(abs(differences[0]) < margin) and 2.0**-n <= alpha
    return equivalent(t_interval(differences, max(1 - 2 * alpha, 0.0)), margin)


class Student(NamedTuple):
    """What a t test of values against zero says, over their last axis."""

    p: Any
    interval: Interval
    effect: Any


def _student(values: ArrayLike, level: float = 0.95) -> Student:
    """Return SciPy's t test, with its interval, and what is promised here where it is undefined and SciPy warns.

    `ttest_1samp` of differences is `ttest_rel` of two columns, of which only the differences are cleared of noise.
    """
    values = np.asarray(values, np.float64)
    if values.shape[-1] < 2:
        values = np.full((*values.shape[:-1], 2), np.nan)
    zero = (values == 0).all(axis=-1)
    defined = np.isfinite(values).all(axis=-1) & (values != values[..., :1]).any(axis=-1)
    # Any other numbers do; a NaN would have SciPy go through the rows of an array one by one.
    values = np.where(defined[..., None], values, np.arange(values.shape[-1]))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)  # where values are nearly equal
        found = stats.ttest_1samp(values, 0.0, axis=-1)

    def answer(number: Any, of_zeros: float) -> Any:
        return np.where(zero, of_zeros, np.where(defined, number, np.nan))[()]

    return Student(
        p=answer(found.pvalue, 1.0),
        interval=Interval(*(answer(bound, np.nan) for bound in found.confidence_interval(level))),
        effect=answer(values.mean(axis=-1) / values.std(axis=-1, ddof=1), 0.0),
    )


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Return Pearson's correlation, NaN where it is undefined."""
    if len(a) < 3 or (a == a[0]).all() or (b == b[0]).all():
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


def _settled(differences: np.ndarray, noise: float) -> np.ndarray:
    """Return [n] differences with those within `noise` of zero as zero, and all equal if they are within `noise`."""
    differences = np.where(np.abs(differences) <= noise, 0.0, differences)
    alike = differences.size > 0 and np.ptp(differences) <= noise
    return np.full_like(differences, differences[0]) if alike else differences


@functools.lru_cache(maxsize=4)
def _all_signs(n: int) -> np.ndarray:
    """Return every choice of n signs of which the first is +1, [2^(n - 1), n]; the others are their negatives."""
    bits = np.arange(2 ** (n - 1))[:, None] >> np.arange(n)[None]
    return 1.0 - 2.0 * (bits & 1)[:, ::-1]
