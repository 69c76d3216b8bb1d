"""Forecasts cut from a series: what is known at each moment, what comes next, and what a naive forecaster would say."""

import numpy as np

from research.data.storage.records import Arrays


def cut(time: np.ndarray, value: np.ndarray, starts: np.ndarray, history: int, horizon: int, season: int) -> Arrays:
    """Return one row for each forecast of the points `start` to `start + horizon - 1`.

    Args:
        time, value: the points of the series [n], ascending in time; a missing value is NaN.
        starts: the first point of every forecast [m], with at least `history` points before it.
        history: points before a forecast that the model is given.
        horizon: points that are forecast.
        season: points in a season.

    Returns:
        "history" [m, history] and "target" [m, horizon], NaN where missing; "last" [m], the last present value before
        the forecast, and "age" [m], how many points it lies behind the point before the forecast; "seasonal" and "time"
        [m, horizon]. Nothing but "target" and "time" depends on points from `start` on.
    """
    present = ~np.isnan(value)
    latest = np.maximum.accumulate(np.where(present, np.arange(len(value)), -1))[starts - 1]  # [m]
    last = np.where(latest >= 0, value[latest], np.nan)
    lead = np.arange(horizon)
    targets = starts[:, None] + lead  # [m, horizon]
    # As many seasons back as it takes to be before the forecast: more than one where the horizon is longer.
    sources = targets - season * (lead // season + 1)
    seasonal = np.where(sources >= 0, _filled(value, season)[np.maximum(sources, 0)], np.nan)
    return {
        "history": np.lib.stride_tricks.sliding_window_view(value, history)[starts - history],
        "target": value[targets],
        "last": last.astype(np.float32),
        "age": (starts - 1 - latest).astype(np.float32),
        "seasonal": np.where(np.isnan(seasonal), last[:, None], seasonal).astype(np.float32),
        "time": time[targets],
    }


def _filled(value: np.ndarray, season: int) -> np.ndarray:
    """Return the series with each missing value taken from as few whole seasons before as it takes."""
    filled = value.copy()
    for start in range(season, len(filled), season):
        block = filled[start : start + season]
        before = filled[start - season : start - season + len(block)]
        block[:] = np.where(np.isnan(block), before, block)
    return filled
