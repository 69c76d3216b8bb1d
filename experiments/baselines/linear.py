"""A linear function of the inputs: of numbers by least squares, of classes by logistic regression."""

import dataclasses
from typing import ClassVar, NamedTuple

import numpy as np

from experiments.baselines.logistic_regression import LogisticRegression
from research.baselines import Baseline, Columns, Examples, Fitted
from research.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Linear(Baseline):
    """Least squares where examples have a `target`, and logistic regression where they have a `label`.

    Of several solutions, as where inputs depend on each other, it takes the one of least norm. A missing target is left
    out of the fit of its column. Legendre, "Nouvelles méthodes pour la détermination des orbites des comètes" (1805).
    """

    packages: ClassVar[tuple[str, ...]] = ("numpy", *LogisticRegression.packages)

    entry: str = "features"
    """Batch entry that is read, as a flat vector."""

    def fit(self, train: Examples, validation: Examples, seed: int) -> Fitted:
        """Return the optimum over the training split.

        Raises:
            UsageError: as `LogisticRegression`; examples have neither label nor target, or no such entry.
        """
        if "label" in train:
            return LogisticRegression(self.entry).fit(train, validation, seed)
        if missing := {self.entry, "target", "present"} - set(train):
            raise UsageError(f"{type(self).__name__} reads {', '.join(sorted(missing))}, which the data does not give")
        inputs, target, present = _inputs(train[self.entry]), train["target"].astype(np.float64), train["present"]
        k = target.shape[1]
        coefficients, std = np.zeros((inputs.shape[1], k)), np.ones(k)
        for column in range(k):
            rows = present[:, column]
            if not rows.any():
                raise UsageError(f"{type(self).__name__} has no training value of target {column}")
            coefficients[:, column], *_ = np.linalg.lstsq(inputs[rows], target[rows, column])
            errors = target[rows, column] - inputs[rows] @ coefficients[:, column]
            std[column] = max(float(np.sqrt(np.mean(errors**2))), float(np.finfo(np.float32).tiny))
        return FittedLinear(coefficients, std, self.entry)


class FittedLinear(NamedTuple):
    """Coefficients [d + 1, k], the last of which is the level, and the deviation [k] of the errors in training."""

    coefficients: np.ndarray
    std: np.ndarray
    entry: str

    def predict(self, examples: Examples) -> Columns:
        """Return `prediction` and its standard error `std`, [n, k]."""
        found = _inputs(examples[self.entry]) @ self.coefficients
        return {"prediction": found, "std": np.broadcast_to(self.std, found.shape)}


def _inputs(entry: np.ndarray) -> np.ndarray:
    """Return a vector an example and a one: [n, ...] -> [n, d + 1]."""
    flat = entry.reshape(len(entry), -1).astype(np.float64)
    return np.concatenate([flat, np.ones((len(flat), 1))], axis=1)
