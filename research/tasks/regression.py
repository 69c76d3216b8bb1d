"""Estimating numbers."""

import dataclasses
import math
from statistics import NormalDist
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from research.data.schema import Real, Schema
from research.errors import UsageError
from research.fields import Positive, Range
from research.tasks.losses import elementwise
from research.tasks.metrics.quotients import mean, mean_of
from research.tasks.metrics.variance import moments, total_spread
from research.tasks.task import Batch, Columns, Sums, Task, counted

Quantile = Annotated[float, Range(0.0, 1.0, open_end=True, open_start=True)]

BAND = NormalDist().inv_cdf(0.95)  # a normal variable lies within so many deviations with probability 0.9


class Goal(NamedTuple):
    """What is to be estimated: values and where they count, [b, k]; an estimate is level + scale * output.

    Losses are those of standardised values, (value - level) / scale, metrics those of values in their own units.
    """

    value: jax.Array
    present: jax.Array
    level: jax.Array | float = 0.0
    scale: jax.Array | float = 1.0


@dataclasses.dataclass(frozen=True)
class Regression(Task):
    """Estimates of `target` [b, k], over the values that are `present` [b, k]; a missing one is left out everywhere.

    Outputs are [b, k]; of the gaussian loss [b, 2 k], k means and then k logarithms of variances; of the quantile loss
    [b, q k], k estimates of each quantile after those of the one before; the estimate is the median, between two
    quantiles by linear interpolation.

    Metrics are over all present values alike: loss, mae, rmse; the share of values within the central 90 % of the
    gaussian, or at most each quantile's estimate; and r2, 1 - sum e^2 / sum (y - mean y)^2 for each of the k outputs,
    then averaged, outputs left out whose values are all the same.
    """

    headline: ClassVar[tuple[str, ...]] = ("loss", "mae")
    required: ClassVar[tuple[str, ...]] = ("target", "present")
    concatenated: ClassVar[tuple[str, ...]] = ("counts", "means", "spreads")
    value: ClassVar[str] = "target"
    """The batch entry with the values."""

    loss: Literal["squared", "absolute", "huber", "gaussian", "quantile"] = "squared"
    """What is minimised; gaussian also estimates a variance, quantile several quantiles."""
    delta: Positive = 1.0
    """Error at which the huber loss goes over from squares to absolute values."""
    quantiles: tuple[Quantile, ...] = (0.1, 0.5, 0.9)
    """What the quantile loss estimates, from low to high."""

    def width(self, schema: Schema) -> int | None:
        """Return how many numbers the loss needs for all values."""
        value = schema.entries.get(self.value)
        return value.size * self._parts if isinstance(value, Real) else None

    def check(self, schema: Schema, outputs: Any) -> None:
        """Raise unless there are as many outputs as the loss needs for every value, and some quantiles."""
        self.require_layout(outputs, "[b, outputs]")
        if not self.quantiles:
            raise UsageError("task.quantiles is empty: give at least one")
        if self.loss == "quantile" and list(self.quantiles) != sorted(set(self.quantiles)):
            raise UsageError(f"task.quantiles must rise from one to the next, not {self.quantiles}")
        if self.loss == "quantile" and not self.quantiles[0] <= 0.5 <= self.quantiles[-1]:
            raise UsageError(
                f"task.quantiles are {self.quantiles}, and the median, by which mae and rmse are judged, is not "
                "between them: add 0.5"
            )
        width, parts, needed = outputs.shape[-1], self._parts, self.width(schema)
        if needed is not None and needed != width:
            raise UsageError(
                f"the model gives {width} outputs, but the {self.loss} loss of {needed // parts} values needs "
                f"{needed}: set model.classes"
            )
        if width % parts:
            raise UsageError(
                f"the model gives {width} outputs, but the {self.loss} loss needs {parts} for each value: "
                "set model.classes"
            )

    def goal(self, batch: Batch) -> Goal:
        """Return what is to be estimated, of the examples that count."""
        present = batch["present"] & counted(batch)[:, None]
        return Goal(batch["target"], present, batch.get("level", 0.0), batch.get("scale", 1.0))

    def measure(self, outputs: jax.Array, batch: Batch) -> Sums:
        """Return sums over a batch: outputs as the loss needs them, entries as `goal` reads them.

        Values enter by the moments of each batch, a row each: from sums of squares r2 would lose the digits that the
        mean has before the deviation.
        """
        value, present, level, scale = self.goal(batch)
        value = jnp.where(present, value.astype(jnp.float32), 0)
        scaled = jnp.where(present, (value - level) / scale, 0)
        loss = jnp.where(present, self._losses(self._split(outputs), scaled), 0)
        found = self.estimates(outputs, batch)
        error = jnp.where(present, found["prediction"] - value, 0)
        sums = {
            "loss": loss.sum(),
            "weight": present.sum(dtype=jnp.float32),
            "absolute": jnp.abs(error).sum(),
            "squared": jnp.square(error).sum(axis=0),
            **moments(value, present),
        }
        if "std" in found:
            sums["covered"] = (present & (jnp.abs(error) <= BAND * found["std"])).sum(dtype=jnp.int32)
        if "quantiles" in found:
            below = present[:, None] & (value[:, None] <= found["quantiles"])  # [b, q, k]
            sums["covered"] = below.sum(axis=(0, 2), dtype=jnp.int32)
        return sums

    def summarize(self, sums: Sums) -> dict[str, float]:
        """Return loss, mae, rmse, r2, and coverage where the loss gives it; of no values, NaN."""
        count, squared = sums["weight"], np.asarray(sums["squared"], np.float64)
        spread = total_spread(sums["counts"], sums["means"], sums["spreads"])
        metrics = {
            "loss": mean(sums["loss"], count),
            "mae": mean(sums["absolute"], count),
            "rmse": math.sqrt(mean(squared.sum(), count)),
            "r2": mean_of(1 - squared[spread > 0] / spread[spread > 0]),
        }
        if self.loss == "gaussian":
            metrics["coverage"] = mean(sums["covered"], count)
        if self.loss == "quantile":
            covered = zip(self.quantiles, np.asarray(sums["covered"]), strict=True)
            metrics |= {f"coverage_{quantile:g}": mean(below, count) for quantile, below in covered}
        return metrics

    def estimates(self, outputs: jax.Array, batch: Batch) -> Columns:
        """Return `prediction` [b, k], and `std` [b, k] or `quantiles` [b, q, k], in the units of the values."""
        _, _, level, scale = self.goal(batch)
        parts = self._split(outputs)  # [b, parts, k]
        if self.loss == "gaussian":
            return {"prediction": level + scale * parts[:, 0], "std": scale * jnp.exp(parts[:, 1] / 2)}
        if self.loss == "quantile":
            every = [level + scale * parts[:, index] for index in range(self._parts)]
            return {"prediction": self._median(every), "quantiles": jnp.stack(every, axis=1)}
        return {"prediction": level + scale * parts[:, 0]}

    def outputs_from(self, columns: Columns, batch: Batch) -> jax.Array:
        """Return outputs of which `estimates` makes these columns: those that it gives, in the units of the values."""
        _, _, level, scale = self.goal(batch)
        match self.loss:
            case "gaussian":
                self.require_columns(columns, "prediction", "std")
                parts = [(columns["prediction"] - level) / scale, 2 * jnp.log(columns["std"] / scale)]
            case "quantile":
                self.require_columns(columns, "quantiles")
                parts = [(columns["quantiles"][:, index] - level) / scale for index in range(self._parts)]
            case _:
                self.require_columns(columns, "prediction")
                parts = [(columns["prediction"] - level) / scale]
        return jnp.concatenate(parts, axis=1, dtype=jnp.float32)  # [b, parts k]

    def predictions(self, outputs: jax.Array, batch: Batch) -> Columns:
        """Return `target`, NaN where missing, and the estimates."""
        value, present, _, _ = self.goal(batch)
        return {"target": jnp.where(present, value, jnp.nan), **self.estimates(outputs, batch)}

    def _median(self, estimates: list[jax.Array]) -> jax.Array:
        """Return the estimate of the quantile 0.5, by linear interpolation where it is none of them."""
        place = float(np.interp(0.5, self.quantiles, np.arange(self._parts)))
        index, share = int(place), place % 1
        return estimates[index] if not share else (1 - share) * estimates[index] + share * estimates[index + 1]

    @property
    def _parts(self) -> int:
        """How many numbers the loss needs for each value."""
        match self.loss:
            case "gaussian":
                return 2
            case "quantile":
                return len(self.quantiles)
            case _:
                return 1

    def _split(self, outputs: jax.Array) -> jax.Array:
        """Return the outputs in float32, the numbers for each value side by side: [b, parts, k]."""
        return outputs.astype(jnp.float32).reshape(len(outputs), self._parts, -1)

    def _losses(self, parts: jax.Array, target: jax.Array) -> jax.Array:
        """Return the loss of each value: [b, parts, k] and [b, k] -> [b, k]."""
        match self.loss:
            case "squared":
                return elementwise.squared(parts[:, 0], target)
            case "absolute":
                return elementwise.absolute(parts[:, 0], target)
            case "huber":
                return elementwise.huber(parts[:, 0], target, self.delta)
            case "gaussian":
                return elementwise.gaussian(parts[:, 0], parts[:, 1], target)
            case "quantile":
                each = [elementwise.pinball(parts[:, index], target, q) for index, q in enumerate(self.quantiles)]
                return jnp.stack(each).mean(axis=0)
