"""Random and low-discrepancy samples of a space, as axes.

random({"optimizer.learning_rate": log_uniform(1e-4, 1e-1), "model.activation": choice(["relu", "tanh"])}, 16, seed=0)
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from research.ablation.design.axes import Axis, Overrides
from research.errors import UsageError

TOP = math.nextafter(1.0, 0.0)  # quantiles take numbers below 1

Quantile = Callable[[float], Any]
"""Maps a number in [0, 1) to a value: the inverse of a cumulative distribution."""


def uniform(low: float, high: float) -> Quantile:
    """Return the uniform distribution over [low, high)."""
    _check_bounds(low, high)
    return lambda u: float(low + u * (high - low))


def log_uniform(low: float, high: float) -> Quantile:
    """Return the distribution over [low, high) whose logarithm is uniform."""
    _check_bounds(low, high)
    if low <= 0:
        raise UsageError(f"log_uniform needs bounds above 0, not {low} and {high}")
    return lambda u: float(low * (high / low) ** u)


def integers(low: int, high: int) -> Quantile:
    """Return the uniform distribution over the integers low, low + 1, ..., high, both included."""
    _check_bounds(low, high + 1)
    return lambda u: math.floor(low + u * (high + 1 - low))


def choice(values: Sequence[Any]) -> Quantile:
    """Return the uniform distribution over `values`."""
    values = tuple(values)
    if not values:
        raise UsageError("choice needs at least one value")
    return lambda u: values[math.floor(u * len(values))]


def random(space: Mapping[str, Quantile], n: int, seed: int) -> Axis:
    """Return `n` independent draws from a space {path: distribution}; a function of `seed` alone."""
    _check_space(space, n)
    return _axis(space, np.random.default_rng(seed).random((n, len(space))))


def halton(space: Mapping[str, Quantile], n: int, seed: int) -> Axis:
    """Return `n` points of a scrambled Halton sequence over a space {path: distribution}; a function of `seed` alone.

    They cover the space more evenly than independent draws (Owen, "A randomized Halton algorithm in R", 2017). The
    first points stay the same when `n` grows.
    """
    from scipy.stats import qmc

    _check_space(space, n)
    return _axis(space, qmc.Halton(len(space), scramble=True, rng=seed).random(n))


def _axis(space: Mapping[str, Quantile], points: np.ndarray) -> Axis:
    """Return one cell for each row of `points`, [n, d] in [0, 1)."""
    return tuple(
        Overrides({path: quantile(float(u)) for (path, quantile), u in zip(space.items(), row, strict=True)})
        for row in points
    )


def _check_bounds(low: float, high: float) -> None:
    """Raise unless the bounds are finite and in order."""
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(f"a distribution needs finite bounds in order, not {low} and {high}")


def _check_space(space: Mapping[str, Quantile], n: int) -> None:
    """Raise unless every path has a distribution and there is something to draw."""
    if not space or n < 1:
        raise UsageError(f"a sample needs at least one path and n of at least 1, not {len(space)} paths and n={n}")
    for path, quantile in space.items():
        if not callable(quantile):
            raise UsageError(f"{path} needs uniform, log_uniform, integers or choice, not {quantile!r}")
