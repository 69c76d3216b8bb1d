"""Multinomial logistic regression, by scikit-learn."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import numpy as np

from experiments.baselines.libraries import INSTALL, one_thread
from research.baselines import Baseline, Columns, Examples
from research.errors import UsageError
from research.fields import Positive, Size


@dataclasses.dataclass(frozen=True)
class LogisticRegression(Baseline):
    """A linear classifier: softmax of a linear function, with an L2 penalty, fitted by L-BFGS to its only optimum.

    It reads one entry as a flat vector, and `label`. Cox, "The regression analysis of binary sequences" (1958).
    """

    packages: ClassVar[tuple[str, ...]] = ("scikit-learn",)

    entry: str = "image"
    """Batch entry that is read, such as "image" or "features"."""
    penalty: Positive = 1.0
    """Weight of half the squared norm of the coefficients beside the summed loss."""
    iterations: Size = 1000
    """Most iterations of the optimizer."""

    def fit(self, train: Examples, validation: Examples, seed: int) -> "FittedLogisticRegression":
        """Return the optimum over the training split.

        Raises:
            UsageError: scikit-learn is missing, or examples have no label or no such entry.
        """
        try:
            from sklearn import linear_model
        except ImportError:
            raise UsageError(f"{type(self).__name__} needs scikit-learn: {INSTALL}") from None
        for name in (self.entry, "label"):
            if name not in train:
                raise UsageError(f"{type(self).__name__} reads {name}, but the data gives {', '.join(sorted(train))}")
        model = linear_model.LogisticRegression(C=1 / self.penalty, max_iter=self.iterations)
        with one_thread():
            model.fit(_flat(train[self.entry]), train["label"])
        labels = np.concatenate([train["label"], validation["label"]])
        return FittedLogisticRegression(model, self.entry, int(labels.max()) + 1)


class FittedLogisticRegression(NamedTuple):
    """The fitted classifier of scikit-learn, which knows the classes that occur among training labels."""

    model: Any
    entry: str
    classes: int

    def predict(self, examples: Examples) -> Columns:
        """Return `log_probability` [n, classes], minus infinity for a class without training examples."""
        found = np.full((len(examples[self.entry]), self.classes), -np.inf)
        found[:, self.model.classes_] = self.model.predict_log_proba(_flat(examples[self.entry]))
        return {"log_probability": found}


def _flat(entry: np.ndarray) -> np.ndarray:
    """Return a vector an example: [n, ...] -> [n, d]."""
    return entry.reshape(len(entry), -1).astype(np.float64)
