"""Means and deviations that are found in data and written into a value."""

import math
from collections.abc import Iterable


def rounded(statistics: Iterable[tuple[float, float]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return means and standard deviations, of which pairs are given, to three digits of the deviation each.

    So a value reads well, and what is standardised by it is off by a hundredth at most. Where nothing ever changes, the
    deviation is 1.
    """
    means, deviations = [], []
    for mean, std in statistics:
        std = std if std > 1e-7 * abs(mean) else 1.0
        digits = 2 - math.floor(math.log10(std))
        means.append(round(mean, digits) + 0.0)
        deviations.append(round(std, digits))
    return tuple(means), tuple(deviations)
