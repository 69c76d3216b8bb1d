"""What every task answers: how the model is called, what is summed over examples, what the sums mean."""

import dataclasses
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

Batch = dict[str, jax.Array]
Sums = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Task:
    """What is learned. Every method is pure; all but `summarize` and `details` run inside the compiled step.

    A metric is a quotient of sums, so it is exact over any batches, padding and hosts: `measure` sums over a batch,
    sums of several batches are added, and `summarize` divides once.
    """

    monitor: ClassVar[str] = "loss"
    """The metric that decides which checkpoint is best."""
    maximize: ClassVar[bool] = False
    """Whether a greater `monitor` is better."""
    headline: ClassVar[tuple[str, ...]] = ("loss",)
    """The metrics shown while training."""

    def inputs(self, batch: Batch) -> Any:
        """Return what the model is called with."""
        raise NotImplementedError

    def measure(self, outputs: Any, batch: Batch) -> Sums:
        """Return sums over the examples of `batch`, those where `mask` is False left out; needs `loss` and `weight`."""
        raise NotImplementedError

    def summarize(self, sums: Sums) -> dict[str, float]:
        """Return metrics by name from sums on the host."""
        raise NotImplementedError

    def details(self, sums: Sums) -> dict[str, Any]:
        """Return what is worth keeping besides numbers, as JSON types."""
        return {}

    def predictions(self, outputs: Any) -> dict[str, jax.Array]:
        """Return arrays by name, one row an example."""
        raise NotImplementedError

    def check(self, spec: dict[str, jax.ShapeDtypeStruct], outputs: Any, classes: int | None) -> None:
        """Raise `UsageError` unless the model's abstract `outputs` fit the dataset; called before anything runs."""

    def objective(self, sums: Sums) -> jax.Array:
        """Return the mean loss that is minimised, a scalar; 0 over a batch in which nothing has weight."""
        return sums["loss"] / jnp.where(sums["weight"] == 0, 1, sums["weight"])

    def forward(
        self, model: nn.Module, params: Any, variables: Any, batch: Batch, key: jax.Array | None = None
    ) -> tuple[Any, Any]:
        """Return the model's outputs and its updated variables; a `key` means training and feeds dropout."""
        if key is None:
            return model.apply({"params": params, **variables}, self.inputs(batch), train=False), variables
        return model.apply(
            {"params": params, **variables},
            self.inputs(batch),
            train=True,
            rngs={"dropout": key},
            mutable=list(variables),
        )
