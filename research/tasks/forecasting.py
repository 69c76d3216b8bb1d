"""Forecasting: the next values of a series."""

import dataclasses
import math
from pathlib import Path
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from research.tasks.metrics.quotients import mean
from research.tasks.pictures import draw_forecast
from research.tasks.regression import BAND, Goal, Regression
from research.tasks.task import Batch, Columns, Readable, Sums, counted

NAIVE = ("persistence", "seasonal")


@dataclasses.dataclass(frozen=True)
class Forecasting(Regression):
    """Estimates of `value` [b, h], the next h values of a series, over those that are `present` [b, h].

    An estimate is level + scale * output, with `level` [b, h] and `scale` [b] of the window that was read. The loss is
    of scaled values, every other metric in the original units. Besides those of `Regression`, with the steps of the
    horizon as its outputs: mae and rmse of the naive forecasts, `persistence` (the last value) and `seasonal` (the one
    a season before), [b, h] each, over exactly the same values.
    """

    monitor: ClassVar[str] = "mae"
    required: ClassVar[tuple[str, ...]] = ("value", "present", "level", "scale", *NAIVE, "time")
    value: ClassVar[str] = "value"

    def goal(self, batch: Batch) -> Goal:
        """Return what is to be estimated, of the examples that count."""
        present = batch["present"] & counted(batch)[:, None]
        return Goal(batch["value"], present, batch["level"], batch["scale"][:, None])

    def measure(self, outputs: jax.Array, batch: Batch) -> Sums:
        """Return the sums of `Regression` and the errors of the naive forecasts."""
        value, present, _, _ = self.goal(batch)
        sums = super().measure(outputs, batch)
        for name in NAIVE:
            error = jnp.where(present, batch[name] - value, 0)
            sums |= {f"{name}_absolute": jnp.abs(error).sum(), f"{name}_squared": jnp.square(error).sum()}
        return sums

    def summarize(self, sums: Sums) -> dict[str, float]:
        """Return the metrics of `Regression`, and mae and rmse of the naive forecasts; of no values, NaN."""
        metrics = super().summarize(sums)
        for name in NAIVE:
            metrics[f"{name}_mae"] = mean(sums[f"{name}_absolute"], sums["weight"])
            metrics[f"{name}_rmse"] = math.sqrt(mean(sums[f"{name}_squared"], sums["weight"]))
        return metrics

    def predictions(self, outputs: jax.Array, batch: Batch) -> Columns:
        """Return `time`, `target` (NaN where missing), the estimates and the naive forecasts."""
        beside = {name: batch[name] for name in ("time", *NAIVE)}
        return {**beside, **super().predictions(outputs, batch)}

    def illustrate(
        self, model: nn.Module, params: Any, variables: Any, batch: Batch, readable: Readable, folder: Path
    ) -> dict[str, str]:
        """Draw `forecast.png`: the series, and what was forecast one step ahead."""
        predict = jax.jit(lambda params, variables, batch: self.predict(model, params, variables, batch))
        columns = jax.device_get(predict(params, variables, batch))
        first = {name: column[..., 0] for name, column in columns.items()}
        band, shown = None, "actual values and forecasts one step ahead"
        if self.loss == "gaussian":
            band = tuple(first["prediction"] + sign * BAND * first["std"] for sign in (-1, 1))
            shown += ", with their 90 % band"
        if self.loss == "quantile" and len(self.quantiles) > 1:
            band = first["quantiles"][:, 0], first["quantiles"][:, -1]
            shown += f", with the quantiles {self.quantiles[0]:g} and {self.quantiles[-1]:g}"
        draw_forecast(first, band, folder / "forecast.png")
        return {"forecast.png": shown}
