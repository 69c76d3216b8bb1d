"""ARIMA, beside statsmodels called by itself and a figure that others have."""

import csv
import importlib.util
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.baselines.arima import ARIMA
from experiments.baselines.libraries import one_thread
from experiments.sunspots_lstm import baselines, experiment
from research.baselines import judge_missing
from research.data import Series
from research.data.series import windows
from research.errors import UsageError

needs_statsmodels = pytest.mark.skipif(not importlib.util.find_spec("statsmodels"), reason="needs the extra baselines")
LAST = 30


def prepared(value, starts, fields=None, history=33):
    """Forecasts of a series at some moments, as `Series` prepares them."""
    data = Series(window=history, **(fields or {}))
    arrays = windows.cut(np.arange(len(value), dtype=np.float32), value, starts, history, data.horizon, data.season)
    return jax.device_get(data.preprocess(arrays))


@pytest.fixture(scope="module")
def sunspots():
    folder = Path(importlib.util.find_spec("statsmodels").submodule_search_locations[0])
    with (folder / "datasets" / "sunspots" / "sunspots.csv").open() as file:
        return np.array([row["SUNACTIVITY"] for row in csv.DictReader(file)], np.float32)


@needs_statsmodels
def test_the_last_thirty_years_of_sunspots(sunspots):
    """Fitted before, one year ahead, never refitted: a root mean squared error of 16.22, as statsmodels says."""
    from statsmodels.tsa.arima.model import ARIMA as Model

    cut = len(sunspots) - LAST
    fitted = ARIMA((9, 0, 0)).fit(prepared(sunspots, np.arange(33, cut)), {}, 0)
    found = fitted.predict(prepared(sunspots, np.arange(cut, len(sunspots))))
    assert np.sqrt(((found["prediction"][:, 0] - sunspots[cut:]) ** 2).mean()) == pytest.approx(16.22, abs=0.005)
    with one_thread():
        direct = Model(sunspots[:cut].astype(np.float64), order=(9, 0, 0)).fit().append(sunspots[cut:])
    np.testing.assert_allclose(found["prediction"][:, 0], direct.predict(cut, len(sunspots) - 1), atol=0.02)


@needs_statsmodels
def test_it_is_judged_on_the_forecasts_of_the_experiment(tmp_path):
    (judgement,) = judge_missing(experiment, baselines, tmp_path / "baselines", data_dir=str(tmp_path))
    assert judgement.error == ""
    found = judgement.metrics["test"]
    assert (found["mae"], found["rmse"]) == pytest.approx((15.25, 19.74), abs=0.01)
    assert found["persistence_mae"] == pytest.approx(25.44, abs=0.01)  # that of the docstring: the same years
    assert "statsmodels" in judgement.versions


@needs_statsmodels
def test_several_steps_ahead_and_gaps():
    """Of x[t] = 0.8 x[t - 1] + noise, whose forecast k steps ahead is 0.8^k of the last value that is known."""
    from statsmodels.tsa.arima.model import ARIMA as Model

    rng = np.random.default_rng(0)
    value = np.zeros(400, np.float32)
    for t in range(1, len(value)):
        value[t] = 0.8 * value[t - 1] + rng.normal()
    value[rng.random(400) < 0.05] = np.nan
    value[[398, 399]] = np.nan, 5.0
    fields = {"horizon": 3, "presence": True, "mean": 0.5, "std": 2.0}
    train = prepared(value, np.arange(10, 300), fields, history=10)
    fitted = ARIMA((1, 0, 0)).fit(train, {}, 0)
    direct = Model((value[:300].astype(np.float64) - 0.5) / 2, order=(1, 0, 0)).fit()  # which knows what is missing
    np.testing.assert_allclose(fitted.results.params, direct.params, rtol=1e-3)
    constant, slope, variance = fitted.results.params
    ends = np.concatenate([value, np.zeros(3, np.float32)])
    found = fitted.predict(prepared(ends, np.array([399, 400]), fields, history=10))
    for row, (known, steps) in enumerate([(value[397], 2), (5.0, 1)]):
        powers = slope ** np.arange(steps, steps + 3)
        expected = constant + powers * ((known - 0.5) / 2 - constant)
        np.testing.assert_allclose(found["prediction"][row], 0.5 + 2 * expected, rtol=1e-4, atol=1e-4)
        spread = np.sqrt(variance * (1 - slope ** (2 * np.arange(steps, steps + 3))) / (1 - slope**2))
        np.testing.assert_allclose(found["std"][row], 2 * spread, rtol=1e-4)


@needs_statsmodels
def test_what_it_cannot_forecast_is_said(monkeypatch):
    value = np.arange(60, dtype=np.float32)
    with pytest.raises(UsageError, match="reads 9 points, but a window has 5: set data.window"):
        ARIMA((9, 0, 0)).fit(prepared(value, np.arange(20, 40), history=5), {}, 0)
    with pytest.raises(UsageError, match=r"leave data\.difference off"):
        changes = prepared(value, np.arange(34, 40), {"difference": True}, history=33)
        ARIMA().fit(changes, {}, 0)
    with pytest.raises(UsageError, match="gives no features, level, present, scale, value"):
        ARIMA().fit({"image": value}, {}, 0)
    monkeypatch.setitem(sys.modules, "statsmodels.tsa.arima.model", None)
    with pytest.raises(UsageError, match=r'needs statsmodels: pip install "ceteris-research\[baselines\]"'):
        ARIMA().fit({}, {}, 0)
