"""What every task answers: how the model is called, what is summed over examples, what the sums mean."""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from research.data.schema import Schema
from research.errors import UsageError
from research.models.model import model_inputs
from research.tasks.metrics.texts import TextScore

Batch = dict[str, jax.Array]
Sums = dict[str, Any]
Columns = dict[str, Any]
Readable = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]

BOOKKEEPING = ("mask", "row")
"""What evaluation adds to a batch: which of its examples count, and where they stand in the dataset."""
SAMPLING = 1  # folded into the key of dropout, whose own draws stay as they are


@dataclasses.dataclass(frozen=True)
class Task:
    """What is learned. Methods are pure and run inside the compiled step, but those of what is on the host.

    These are `summarize`, `details`, `text_scores` and `illustrate`.

    A metric is a quotient of sums, so it is exact over any batches, padding and hosts: `measure` sums over a batch,
    sums of several batches are added, and `summarize` divides once. Where nothing counts, the quotient is NaN.
    """

    monitor: ClassVar[str] = "loss"
    """The metric that decides which checkpoint is best."""
    maximize: ClassVar[bool] = False
    """Whether a greater `monitor` is better."""
    headline: ClassVar[tuple[str, ...]] = ("loss",)
    """The metrics shown while training."""
    required: ClassVar[tuple[str, ...]] = ()
    """What a batch must hold besides what the model is called with; no model is shown it."""
    concatenated: ClassVar[tuple[str, ...]] = ()
    """Names among the sums of arrays that are not added but put one behind the other, by rows."""
    additive: ClassVar[bool] = True
    """Whether the loss of a batch is a sum over its examples, so that a batch may be computed in parts."""
    references: ClassVar[tuple[str, ...]] = ()
    """Names of frozen networks: what each gives for a batch stands under its name in the batch that `measure` gets."""
    mixes: ClassVar[bool] = False
    """Whether the loss of a mixed example is that of both its labels, by `other` and `share` of the batch."""

    def inputs(self, model: nn.Module, batch: Batch) -> Any:
        """Return what the model is called with: what it reads of the batch, without the answers and what is counted.

        Raises:
            UsageError: the batch lacks an entry that the model reads.
        """
        hidden = {*self.required, *BOOKKEEPING}
        return model_inputs(model, {name: entry for name, entry in batch.items() if name not in hidden})

    def measure(self, outputs: Any, batch: Batch) -> Sums:
        """Return sums over the examples of `batch`, those where `mask` is False left out; needs `loss` and `weight`."""
        raise NotImplementedError

    def summarize(self, sums: Sums) -> dict[str, float]:
        """Return metrics by name from sums on the host."""
        raise NotImplementedError

    def details(self, sums: Sums) -> dict[str, Any]:
        """Return what is worth keeping besides numbers, by name: arrays, or JSON types."""
        return {}

    def predictions(self, outputs: Any, batch: Batch) -> Columns:
        """Return arrays by name, a row an example: what is predicted, and what belongs beside it."""
        raise NotImplementedError

    def text_scores(self, columns: Columns) -> dict[str, TextScore]:
        """Return by name what predictions come to as texts, columns [n] as `predict` of a run returns them."""
        return {}

    def outputs_from(self, columns: Columns, batch: Batch) -> Any:
        """Return the outputs of a model that predicts `columns` for a batch, so that `measure` judges what is no model.

        Raises:
            UsageError: a column is missing, or the task judges nothing but models.
        """
        raise UsageError(f"{self._name} judges nothing but models: it says no way from predictions to outputs")

    def width(self, schema: Schema) -> int | None:
        """Return how many outputs a model must have for the data; None where the data does not say."""
        return None

    def check(self, schema: Schema, outputs: Any) -> None:
        """Raise `UsageError` unless the model's abstract `outputs` fit the data; called before anything runs.

        What the schema does not describe is taken to fit.
        """

    def check_references(self, given: Mapping[str, Any], outputs: Any) -> None:
        """Raise `UsageError` unless what the references give, abstract and by name, fits the model's outputs."""

    def objective(self, sums: Sums) -> jax.Array:
        """Return the mean loss that is minimised, a scalar; 0 over a batch in which nothing has weight."""
        return sums["loss"] / jnp.where(sums["weight"] == 0, 1, sums["weight"])

    def forward(
        self, model: nn.Module, params: Any, variables: Any, batch: Batch, key: jax.Array | None = None
    ) -> tuple[Any, Any]:
        """Return the model's outputs and its updated variables; a `key` means training and feeds dropout and sampling.

        Raises:
            UsageError: the batch lacks an entry that the task needs.
        """
        self.require(batch, *self.required)
        if key is None:
            return model.apply({"params": params, **variables}, self.inputs(model, batch), train=False), variables
        return model.apply(
            {"params": params, **variables},
            self.inputs(model, batch),
            train=True,
            rngs={"dropout": key, "sampling": jax.random.fold_in(key, SAMPLING)},
            mutable=list(variables),
        )

    def evaluate(self, model: nn.Module, params: Any, variables: Any, batch: Batch) -> Sums:
        """Return the sums of an evaluation, which may hold more than those of training."""
        outputs, _ = self.forward(model, params, variables, batch)
        return self.measure(outputs, batch)

    def predict(self, model: nn.Module, params: Any, variables: Any, batch: Batch) -> Columns:
        """Return the predictions for a batch, arrays by name with a row an example."""
        outputs, _ = self.forward(model, params, variables, batch)
        return self.predictions(outputs, batch)

    def illustrate(
        self, model: nn.Module, params: Any, variables: Any, batch: Batch, readable: Readable, folder: Path
    ) -> dict[str, str]:
        """Write pictures or texts about some prepared examples into `folder`; return {file name: what it shows}.

        `readable` turns columns of token ids into text, as for predictions.
        """
        return {}

    def require(self, batch: Mapping[str, Any], *names: str) -> None:
        """Raise `UsageError` unless the batch has these entries."""
        missing = [name for name in names if name not in batch]
        if missing:
            raise UsageError(f"{self._name} needs {' and '.join(missing)}, but {_described(batch)}")

    def require_columns(self, columns: Columns, *names: str) -> None:
        """Raise `UsageError` unless the predictions have these columns."""
        missing = [name for name in names if name not in columns]
        if missing:
            found = ", ".join(columns) or "nothing"
            raise UsageError(f"{self._name} judges {' and '.join(missing)}, but what is predicted is {found}")

    def require_layout(self, outputs: Any, layout: str, name: str = "outputs") -> None:
        """Raise `UsageError` unless the outputs are one array of a layout such as "[b, classes]"."""
        if isinstance(outputs, Mapping):
            raise UsageError(
                f"{self._name} reads {name} {layout}, but the model gives a mapping of {', '.join(outputs)}"
            )
        if len(outputs.shape) != layout.count(",") + 1:
            raise UsageError(
                f"{self._name} reads {name} {layout}, but the model gives an array of shape {list(outputs.shape)}"
            )

    @property
    def _name(self) -> str:
        """The task as messages call it."""
        return type(self).__name__


def counted(batch: Batch) -> jax.Array:
    """Return where an example counts, bool [b]."""
    return batch["mask"] if "mask" in batch else jnp.ones(len(next(iter(batch.values()))), bool)


def counted_steps(batch: Batch, lengths: jax.Array, l: int) -> jax.Array:
    """Return where a step lies within its sequence, of an example that counts: bool [b, l]."""
    return counted(batch)[:, None] & (jnp.arange(l)[None] < lengths[:, None])


def _described(batch: Mapping[str, Any]) -> str:
    """Return what the data gives, in words."""
    return f"the data gives {', '.join(sorted(set(batch) - {'mask'}))}: choose another task or other data"
