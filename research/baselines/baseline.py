"""What a baseline answers: how it is fitted, and what it then predicts."""

import dataclasses
from typing import ClassVar, Protocol

import numpy as np

from research.fields import validate

Examples = dict[str, np.ndarray]
"""Examples as `Data.preprocess` gives them to a model, without augmentation: every entry is [n, ...]."""

Columns = dict[str, np.ndarray]
"""Predictions by name, a row an example, as `Task.outputs_from` reads them."""


class Fitted(Protocol):
    """A baseline after fitting."""

    def predict(self, examples: Examples) -> Columns:
        """Return what the task judges for each example, whatever other examples it comes with.

        `examples` are some of a split, their targets too, which are there to be ignored.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Baseline:
    """Something simple that is fitted to the experiment's own splits: a frozen value like the experiment's parts.

    Its fields are all that decides what it predicts, besides data and seed.
    """

    draws: ClassVar[bool] = False
    """Whether fitting draws random numbers. What does is fitted once for each seed, anything else once."""
    packages: ClassVar[tuple[str, ...]] = ()
    """Distributions whose versions are written into the result, besides those of every run."""

    def __post_init__(self) -> None:
        validate(self)

    def fit(self, train: Examples, validation: Examples, seed: int) -> Fitted:
        """Return the fitted baseline. Parameters come from `train`; `validation` is for choosing between settings.

        Libraries are imported here, so that the module of an experiment needs none of them.

        Raises:
            UsageError: a library is missing, named with its extra, or the examples are none that it can be fitted to.
        """
        raise NotImplementedError
