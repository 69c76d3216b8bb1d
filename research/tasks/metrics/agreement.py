"""Precision, recall and F1 of guesses and answers, from how often each occurs."""

import math

import numpy as np

from research.tasks.metrics.quotients import mean, mean_of, share


def of_confusion(confusion: np.ndarray) -> dict[str, float]:
    """Return accuracy, and macro precision, recall and F1, of a confusion matrix [c, c]: rows are labels.

    The means are over the classes that occur among labels or guesses; a quotient 0 / 0 counts as 0. Of no examples all
    are NaN.
    """
    confusion = np.asarray(confusion)
    hits, labels, guesses = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    seen = labels + guesses > 0
    return {
        "accuracy": mean(hits.sum(), confusion.sum()),
        "macro_precision": mean_of(share(hits, guesses)[seen]),
        "macro_recall": mean_of(share(hits, labels)[seen]),
        "macro_f1": mean_of(share(2 * hits, labels + guesses)[seen]),
    }


def of_counts(hits: np.ndarray, guesses: np.ndarray, answered: np.ndarray, counts: np.ndarray) -> dict[str, float]:
    """Return precision, recall and F1 in three means over labels: micro, macro and weighted by positive answers.

    All arguments are [k]: positive guesses that are right, positive guesses, positive answers, and all answers. Macro
    means leave out labels without answers; of no answers all are NaN.
    """
    hits, guesses, answered = (np.asarray(each, np.float64) for each in (hits, guesses, answered))
    there, metrics = np.asarray(counts) > 0, {}
    for name, part, whole in (
        ("precision", hits, guesses),
        ("recall", hits, answered),
        ("f1", 2 * hits, guesses + answered),
    ):
        each = share(part, whole)
        micro, weighted = share(part.sum(), whole.sum()), share((answered * each).sum(), answered.sum())
        metrics[f"micro_{name}"] = float(micro) if there.any() else math.nan
        metrics[f"macro_{name}"] = mean_of(each[there])
        metrics[f"weighted_{name}"] = float(weighted) if there.any() else math.nan
    return metrics
