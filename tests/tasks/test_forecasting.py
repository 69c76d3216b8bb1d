import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.models import MLP
from research.tasks import Forecasting, Regression

B, W, D, H = 23, 5, 2, 3
RNG = np.random.default_rng(0)
SCALE = RNG.uniform(0.5, 4, B).astype(np.float32)
LEVEL, VALUE, PERSISTENCE, SEASONAL = (RNG.normal(size=(4, B, H)) * 7 + 50).astype(np.float32)
PRESENT = RNG.random((B, H)) < 0.7
BATCH = {
    "features": RNG.normal(size=(B, W, D)).astype(np.float32),
    "value": np.where(PRESENT, VALUE, 0),
    "present": PRESENT,
    "level": LEVEL,
    "scale": SCALE,
    "persistence": PERSISTENCE,
    "seasonal": SEASONAL,
    "time": (1990 + np.arange(B)[:, None] / 12 + np.arange(H)[None] / 12).astype(np.float32),
}
OUTPUTS = RNG.normal(size=(B, H)).astype(np.float32)


def test_the_loss_is_scaled_and_all_else_is_not():
    task = Forecasting("huber", delta=0.9)
    sums = task.measure(jnp.asarray(OUTPUTS), BATCH)
    found = task.summarize(sums)
    scaled = {"target": np.where(PRESENT, (VALUE - LEVEL) / SCALE[:, None], 0), "present": PRESENT}
    expected = Regression("huber", delta=0.9)
    assert found.pop("loss") == pytest.approx(expected.summarize(expected.measure(OUTPUTS, scaled))["loss"], rel=1e-4)
    estimate = LEVEL + SCALE[:, None] * OUTPUTS
    plain = Regression()
    original = plain.summarize(plain.measure(estimate, {"target": BATCH["value"], "present": PRESENT}))
    for name in ("mae", "rmse", "r2"):
        assert found.pop(name) == pytest.approx(original[name], rel=1e-5)
    for name, naive in (("persistence", PERSISTENCE), ("seasonal", SEASONAL)):
        error = (naive - VALUE)[PRESENT]
        assert found.pop(f"{name}_mae") == pytest.approx(np.abs(error).mean(), rel=1e-5)
        assert found.pop(f"{name}_rmse") == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)
    assert not found
    assert task.monitor == "mae" and not task.maximize


def test_a_naive_forecast_as_output_is_as_good_as_itself():
    outputs = (SEASONAL - LEVEL) / SCALE[:, None]
    found = Forecasting().summarize(Forecasting().measure(outputs, BATCH))
    assert found["mae"] == pytest.approx(found["seasonal_mae"], rel=1e-5)
    assert found["rmse"] == pytest.approx(found["seasonal_rmse"], rel=1e-5)


def test_rows_of_padding_change_nothing():
    mask = np.arange(B) < B - 4
    dirty = {name: entry.copy() for name, entry in BATCH.items()}
    for name in ("value", "level", "scale", "persistence", "seasonal"):
        dirty[name][~mask] = np.nan
    for task in (Forecasting("gaussian"), Forecasting("quantile")):
        outputs = np.tile(OUTPUTS, (1, 2 if task.loss == "gaussian" else 3))
        found = task.summarize(task.measure(jnp.asarray(outputs), {**dirty, "mask": mask}))
        part = {name: entry[mask] for name, entry in BATCH.items()}
        assert found == pytest.approx(task.summarize(task.measure(jnp.asarray(outputs[mask]), part)), rel=1e-5)


def test_spread_is_in_original_units():
    for task, parts in ((Forecasting("gaussian"), 2), (Forecasting("quantile", quantiles=(0.2, 0.6)), 2)):
        outputs = RNG.normal(size=(B, parts * H)).astype(np.float32)
        found, raw = task.predictions(jnp.asarray(outputs), BATCH), outputs.reshape(B, parts, H)
        level, scale = LEVEL[:, None], SCALE[:, None, None]
        if task.loss == "gaussian":
            np.testing.assert_allclose(found["std"], SCALE[:, None] * np.exp(raw[:, 1] / 2), rtol=1e-5)
        else:
            np.testing.assert_allclose(found["quantiles"], level + scale * raw, rtol=1e-5)
            low, high = found["quantiles"].swapaxes(0, 1)  # 0.5 is three quarters of the way from 0.2 to 0.6
            np.testing.assert_allclose(found["prediction"], low / 4 + 3 * high / 4, rtol=1e-5)
        np.testing.assert_array_equal(found["target"], np.where(PRESENT, VALUE, np.nan))
        for name in ("time", "persistence", "seasonal"):
            np.testing.assert_array_equal(found[name], BATCH[name])


def test_of_no_values_the_metrics_are_no_numbers():
    task = Forecasting()
    sums = task.measure(jnp.asarray(OUTPUTS), {**BATCH, "present": np.zeros((B, H), bool)})
    assert task.objective(sums) == 0
    assert np.isnan(list(task.summarize(sums).values())).all()


@pytest.mark.parametrize("loss, parts", [("squared", 1), ("gaussian", 2), ("quantile", 3)])
def test_the_forecast_is_drawn(loss, parts, tmp_path):
    model, task = MLP(hidden=(3,), classes=parts * H), Forecasting(loss)
    params = model.init(jax.random.key(0), task.inputs(model, BATCH))["params"]
    drawn = task.illustrate(model, params, {}, BATCH, lambda columns: columns, tmp_path)
    assert list(drawn) == [path.name for path in tmp_path.iterdir()] == ["forecast.png"]
    assert ("band" in drawn["forecast.png"]) == (loss == "gaussian")
    assert ("0.1 and 0.9" in drawn["forecast.png"]) == (loss == "quantile")
    assert (tmp_path / "forecast.png").read_bytes().startswith(b"\x89PNG")
