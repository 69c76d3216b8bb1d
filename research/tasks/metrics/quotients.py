"""Quotients of sums on the host, of which some have nothing in the denominator."""

import math
from typing import Any

import numpy as np


def mean(total: Any, count: Any) -> float:
    """Return total / count; of nothing, NaN."""
    return float(total) / float(count) if count else math.nan


def share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Divide elementwise, with x / 0 = 0, as precision and recall of what never occurs."""
    return np.divide(part, whole, out=np.zeros(np.shape(part)), where=np.asarray(whole) > 0)


def mean_of(values: np.ndarray) -> float:
    """Return the mean of the values that are numbers; of none, NaN."""
    values = np.asarray(values, np.float64)
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if kept.size else math.nan


def perplexity(nats: float) -> float:
    """Return e to the mean nats per token, infinite where float64 ends."""
    return math.inf if nats > math.log(np.finfo(np.float64).max) else math.exp(nats)
