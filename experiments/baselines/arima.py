"""ARIMA, by statsmodels."""

import dataclasses
from typing import Any, ClassVar, NamedTuple

import numpy as np

from experiments.baselines.libraries import INSTALL, one_thread
from research.baselines import Baseline, Columns, Examples
from research.errors import UsageError


@dataclasses.dataclass(frozen=True)
class ARIMA(Baseline):
    """An autoregressive integrated moving average, fitted by maximum likelihood to the training stretch of a series.

    It forecasts from the window that a model sees. A purely autoregressive one loses nothing by that, as long as the
    window is no shorter than its order. Box and Jenkins, "Time series analysis: forecasting and control" (1970).
    """

    packages: ClassVar[tuple[str, ...]] = ("statsmodels",)

    order: tuple[int, int, int] = (1, 0, 0)
    """Autoregressive terms, differences, moving average terms."""

    def fit(self, train: Examples, validation: Examples, seed: int) -> "FittedARIMA":
        """Return the parameters that make the training stretch likeliest, in standardised units.

        Raises:
            UsageError: statsmodels is missing, or examples are not windows of a series' values that are long enough.
        """
        try:
            from statsmodels.tsa.arima.model import ARIMA as Model
        except ImportError:
            raise UsageError(f"ARIMA needs statsmodels: {INSTALL}") from None
        if missing := {"features", "value", "present", "level", "scale"} - set(train):
            raise UsageError(f"ARIMA forecasts a series, but the data gives no {', '.join(sorted(missing))}")
        if np.ptp(train["level"]):
            raise UsageError("ARIMA forecasts values and takes differences of its own: leave data.difference off")
        windows = _windows(train)
        if windows.shape[1] < (least := self.order[0] + self.order[1]):
            raise UsageError(f"ARIMA reads {least} points, but a window has {windows.shape[1]}: set data.window")
        # Windows are one point apart, so the first one and what follows each of them are the whole stretch.
        following = (train["value"][:, 0] - train["level"][:, 0]) / train["scale"]
        following = np.where(train["present"][:, 0], following, np.nan)
        series = np.concatenate([windows[0], following]).astype(np.float64)  # [points]
        with one_thread():
            return FittedARIMA(Model(series, order=self.order).fit())


class FittedARIMA(NamedTuple):
    """The results of statsmodels."""

    results: Any

    def predict(self, examples: Examples) -> Columns:
        """Return `prediction` and its standard error `std`, [n, h], in the units of the series."""
        level, scale = examples["level"], examples["scale"][:, None]
        n, h = level.shape
        mean, std = np.empty((n, h)), np.empty((n, h))
        with one_thread():
            for row, window in enumerate(_windows(examples)):
                forecast = self.results.apply(window.astype(np.float64)).get_forecast(h)
                mean[row], std[row] = forecast.predicted_mean, forecast.se_mean
        return {"prediction": level + scale * mean, "std": scale * std}


def _windows(examples: Examples) -> np.ndarray:
    """Return what a model sees of the series, [n, w], NaN where a value is missing."""
    features = examples["features"]
    n, w, channels = features.shape
    return features[..., 0] if channels == 1 else np.where(features[..., 1] > 0, features[..., 0], np.nan)
