"""How well scores rank what is positive above what is not."""

import math

import numpy as np


def area_under_curve(scores: np.ndarray, answers: np.ndarray) -> float:
    """Return the probability that a positive scores above a negative, ties counting half; scores and answers [n].

    From ranks, as in Mann and Whitney (1947). NaN where there are no positives or no negatives.
    """
    from scipy.stats import rankdata  # slow to import

    positive = answers == 1
    ones, zeros = int(positive.sum()), int((~positive).sum())
    if not ones or not zeros:
        return math.nan
    return float((rankdata(scores)[positive].sum() - ones * (ones + 1) / 2) / (ones * zeros))
