import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from research.data.schema import Real, Schema
from research.errors import UsageError
from research.tasks import Regression

B, K = 41, 3
RNG = np.random.default_rng(0)
TARGET = (RNG.normal(size=(B, K)) * [1, 5, 0.1] + [0, 100, 20]).astype(np.float32)
PRESENT = RNG.random((B, K)) < 0.8
MEASURE = jax.jit(Regression("gaussian").measure)
LOSSES = ("squared", "absolute", "huber", "gaussian", "quantile")


def outputs(task, noise=1.0):
    """Outputs near the target, as the loss wants them."""
    rng = np.random.default_rng(1)
    near = TARGET + rng.normal(size=(B, K)) * noise
    match task.loss:
        case "gaussian":
            parts = [near, rng.normal(size=(B, K))]
        case "quantile":
            parts = [near + shift for shift in np.linspace(-1, 1, len(task.quantiles))]
        case _:
            parts = [near]
    return np.concatenate(parts, axis=1).astype(np.float32)


def batch(rows=slice(None), **more):
    there = PRESENT[rows]
    return {"target": np.where(there, TARGET[rows], 0), "present": there, **more}


def total(task, parts):
    """Sums of several batches, put together as an evaluation does."""
    return {
        name: np.concatenate(values)
        if name in task.concatenated
        else sum(np.asarray(value, np.float64) for value in values)
        for name, values in {name: [part[name] for part in parts] for name in parts[0]}.items()
    }


def expected(task, found):
    """The metrics from single values."""
    parts = found.reshape(B, -1, K).astype(np.float64)
    middle = parts[:, parts.shape[1] // 2] if task.loss == "quantile" else parts[:, 0]
    error = (TARGET - middle)[PRESENT]
    columns = [sklearn.metrics.r2_score(TARGET[p, j], middle[p, j]) for j, p in enumerate(PRESENT.T)]
    metrics = {"mae": np.abs(error).mean(), "rmse": np.sqrt((error**2).mean()), "r2": np.mean(columns)}
    match task.loss:
        case "squared":
            metrics["loss"] = (error**2).mean()
        case "absolute":
            metrics["loss"] = np.abs(error).mean()
        case "huber":
            size, d = np.abs(error), task.delta
            metrics["loss"] = np.where(size <= d, size**2 / 2, d * (size - d / 2)).mean()
        case "gaussian":
            std = np.exp(parts[:, 1] / 2)[PRESENT]
            metrics["loss"] = -scipy.stats.norm.logpdf(error, 0, std).mean()
            metrics["coverage"] = (np.abs(error / std) < 1.6448536).mean()
        case "quantile":
            pairs = list(enumerate(task.quantiles))
            metrics["loss"] = np.mean(
                [sklearn.metrics.mean_pinball_loss(TARGET[PRESENT], parts[:, i][PRESENT], alpha=q) for i, q in pairs]
            )
            metrics |= {f"coverage_{q}": (parts[:, i] >= TARGET)[PRESENT].mean() for i, q in pairs}
    return metrics


@pytest.mark.parametrize("loss", LOSSES)
def test_metrics_equal_those_of_single_values(loss):
    task = Regression(loss, delta=0.7, quantiles=(0.05, 0.2, 0.5, 0.7, 0.95))
    found = outputs(task)
    whole = task.measure(jnp.asarray(found), batch())
    assert task.summarize(jax.device_get(whole)) == pytest.approx(expected(task, found), rel=2e-5)
    assert task.objective(whole) == pytest.approx(expected(task, found)["loss"], rel=2e-5)
    assert {task.monitor, *task.headline} <= task.summarize(whole).keys()


@pytest.mark.fault("F45")
@pytest.mark.parametrize(
    ("quantiles", "shares"),
    [((0.1, 0.9), (0.5, 0.5)), ((0.1, 0.4, 0.6), (0, 0.5, 0.5)), ((0.3, 0.5, 0.6, 0.9), (0, 1, 0, 0))],
)
def test_what_is_judged_is_the_median(quantiles, shares):
    """The quantile in the middle of the list is another one, whose errors are larger."""
    task = Regression("quantile", quantiles=quantiles)
    found = outputs(task)
    middle = np.tensordot(found.reshape(B, len(quantiles), K), shares, (1, 0))
    error = np.abs(TARGET - middle)[PRESENT]
    metrics = task.summarize(jax.device_get(task.measure(jnp.asarray(found), batch())))
    assert metrics["mae"] == pytest.approx(error.mean(), rel=1e-5)
    assert metrics["rmse"] == pytest.approx(np.sqrt((error**2).mean()), rel=1e-5)


@given(st.permutations(range(B)), st.lists(st.integers(0, B), max_size=4))
def test_any_batches_give_the_same_metrics(order, cuts):
    task = Regression("gaussian")
    found, parts = outputs(task), []
    for rows in np.split(np.array(order), sorted(cuts)):
        mask = np.arange(B) < len(rows)
        rows = np.resize(np.append(rows, 0), B)  # padding
        parts.append(MEASURE(np.where(mask[:, None], found[rows], np.nan), batch(rows, mask=mask)))
    whole = task.summarize(MEASURE(found, batch(mask=np.ones(B, bool))))
    assert task.summarize(total(task, parts)) == pytest.approx(whole, rel=2e-5)


def test_r2_keeps_its_digits_far_from_zero():
    task, rng = Regression(), np.random.default_rng(2)
    value = (2000 + rng.normal(size=(B, 1))).astype(np.float32)
    near = (value + rng.normal(size=(B, 1)) * 0.5).astype(np.float32)
    here = np.ones((B, 1), bool)
    parts = [
        task.measure(near[i : i + 5], {"target": value[i : i + 5], "present": here[i : i + 5]}) for i in range(0, B, 5)
    ]
    assert task.summarize(total(task, parts))["r2"] == pytest.approx(sklearn.metrics.r2_score(value, near), rel=1e-4)


def test_an_output_that_never_varies_is_left_out_of_r2():
    value = np.where(np.arange(K)[None] == 1, np.float32(0.1), TARGET)
    sums = Regression().measure(jnp.asarray(value + 0.01), {"target": value, "present": PRESENT})
    others = [sklearn.metrics.r2_score(value[p, j], value[p, j] + 0.01) for j, p in enumerate(PRESENT.T) if j != 1]
    assert Regression().summarize(sums)["r2"] == pytest.approx(np.mean(others), rel=1e-3)


@pytest.mark.parametrize("loss", LOSSES)
def test_of_no_values_the_loss_is_zero_and_the_metrics_are_no_numbers(loss):
    task = Regression(loss)
    nothing = {"target": np.zeros((B, K), np.float32), "present": np.zeros((B, K), bool)}

    def objective(outputs):
        sums = task.measure(outputs, nothing)
        return task.objective(sums), sums

    (value, sums), gradient = jax.value_and_grad(objective, has_aux=True)(jnp.asarray(outputs(task)))
    assert value == 0 and not np.asarray(gradient).any()
    assert np.isnan(list(task.summarize(sums).values())).all()


def test_predictions_are_in_the_units_of_the_target():
    for loss in LOSSES:
        task = Regression(loss)
        found, raw = task.predictions(jnp.bfloat16(outputs(task)), batch()), jnp.bfloat16(outputs(task))
        parts = np.asarray(raw, np.float32).reshape(B, -1, K)
        np.testing.assert_array_equal(found["target"], np.where(PRESENT, TARGET, np.nan))
        np.testing.assert_array_equal(found["prediction"], parts[:, 1 if loss == "quantile" else 0])
        if loss == "gaussian":
            np.testing.assert_allclose(found["std"] ** 2, np.exp(parts[:, 1]), rtol=1e-5)
        if loss == "quantile":
            np.testing.assert_array_equal(found["quantiles"], parts)
        assert len(found) == 2 + (loss in ("gaussian", "quantile"))


def test_what_does_not_fit_is_refused():
    shape = lambda *sizes: jax.ShapeDtypeStruct(sizes, jnp.float32)  # noqa: E731
    schema = Schema({"target": Real(K)})
    for task, outputs, message in [
        (Regression(), shape(B, K), None),
        (Regression("gaussian"), shape(B, 2 * K), None),
        (Regression("quantile", quantiles=(0.1, 0.2, 0.3, 0.9)), shape(B, 4 * K), None),
        (
            Regression("gaussian"),
            shape(B, K),
            "gives 3 outputs, but the gaussian loss of 3 values needs 6: set model.c",
        ),
        (Regression("quantile", quantiles=(0.5, 0.1)), shape(B, 2 * K), "task.quantiles must rise"),
        (Regression("quantile", quantiles=(0.8, 0.9)), shape(B, 2 * K), "the median, .* is not between them: add 0.5"),
        (Regression(quantiles=()), shape(B, K), "task.quantiles is empty"),
        (Regression(), shape(B, 5, K), r"Regression reads outputs \[b, outputs\]"),
    ]:
        if message is None:
            task.check(schema, outputs)
        else:
            with pytest.raises(UsageError, match=message):
                task.check(schema, outputs)
    with pytest.raises(UsageError, match="gives 3 outputs, but the gaussian loss needs 2 for each value"):
        Regression("gaussian").check(Schema({}), shape(B, K))
