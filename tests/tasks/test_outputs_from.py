"""What is predicted, turned back into outputs, is judged like the outputs that it was predicted from."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research import tasks
from research.errors import UsageError
from research.tasks import Classification, Forecasting, LanguageModeling, Regression, Task

B, K, L, V = 13, 3, 5, 7
RNG = np.random.default_rng(0)
VALUE, LEVEL, SEASONAL = (RNG.normal(3, 2, (B, K)).astype(np.float32) for _ in range(3))
PRESENT = RNG.random((B, K)) < 0.8
FORECASTS = {
    "value": VALUE,
    "present": PRESENT,
    "level": LEVEL,
    "scale": RNG.uniform(0.5, 2, B).astype(np.float32),
    "persistence": LEVEL,
    "seasonal": SEASONAL,
    "time": VALUE,
}
BATCHES = {Regression: {"target": VALUE, "present": PRESENT}, Forecasting: FORECASTS}


def same(found, expected):
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=2e-5, atol=1e-5)


@pytest.mark.parametrize("kind", BATCHES)
@pytest.mark.parametrize(
    ("loss", "parts"), [("squared", 1), ("absolute", 1), ("huber", 1), ("gaussian", 2), ("quantile", 3)]
)
def test_of_numbers(kind, loss, parts):
    task, batch = kind(loss), BATCHES[kind]
    outputs = jnp.asarray(RNG.normal(size=(B, parts * K)), jnp.float32)
    same(task.outputs_from(task.predictions(outputs, batch), batch), outputs)


def test_of_a_class():
    batch = {"label": RNG.integers(0, V, B)}
    logits, task = jnp.asarray(RNG.normal(size=(B, V)), jnp.float32), Classification(label_smoothing=0.1)
    columns = {"log_probability": np.log(task.predictions(logits, batch)["probability"])}
    same(task.measure(task.outputs_from(columns, batch), batch), task.measure(logits, batch))


def test_of_tokens():
    lengths = RNG.integers(1, L + 1, B)
    batch = {"tokens": None, "targets": RNG.integers(0, V, (B, L)), "lengths": lengths, "bytes": 2 * lengths}
    logits, task = jnp.asarray(RNG.normal(size=(B, L, V)), jnp.float32), LanguageModeling(label_smoothing=0.1)
    columns = {"log_probability": jax.nn.log_softmax(logits)}
    batch["mask"] = np.arange(B) < B - 2
    same(task.measure(task.outputs_from(columns, batch), batch), task.measure(logits, batch))


@pytest.mark.parametrize("name", tasks.__all__)
def test_what_is_missing_is_named(name):
    task: Task = getattr(tasks, name)()
    batch = {**FORECASTS, "target": VALUE}
    with pytest.raises(UsageError, match=f"^{name} judges (nothing but models|[a-z_]+, but what is predicted is time)"):
        task.outputs_from({"time": VALUE}, batch)


def test_a_loss_asks_for_what_it_judges():
    for loss, named in (("gaussian", "judges std, but"), ("quantile", "judges quantiles, but")):
        with pytest.raises(UsageError, match=named):
            Regression(loss).outputs_from({"prediction": VALUE}, BATCHES[Regression])
