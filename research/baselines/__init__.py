"""Baselines: something simple and well known that an experiment must beat, judged by the experiment's own task.

baselines = {"logistic_regression": LogisticRegression()}                         # beside `studies`, in the module
for judgement in judge_missing(experiment, baselines, folder / "baselines"): ...  # fits what has no result yet
judgements(folder / "baselines")                                                  # what is stored
"""

from research.baselines.baseline import Baseline, Columns, Examples, Fitted
from research.baselines.fitting import judge_missing
from research.baselines.store import Judgement, fingerprint, judgements

__all__ = [
    "Baseline",
    "Columns",
    "Examples",
    "Fitted",
    "Judgement",
    "fingerprint",
    "judge_missing",
    "judgements",
]
