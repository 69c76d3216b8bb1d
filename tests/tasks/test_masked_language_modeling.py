import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.data.schema import Schema, Tokens
from research.errors import UsageError
from research.models import BertPretraining
from research.tasks import MaskedLanguageModeling

B, L, V = 5, 7, 11
RNG = np.random.default_rng(0)
OUTPUTS = {"masked": RNG.normal(size=(B, L, V)).astype(np.float32), "next": RNG.normal(size=(B, 2)).astype(np.float32)}
MASK = np.array([True, False, True, True, True])
PREDICTED = RNG.random((B, L)) < 0.3
PREDICTED[3] = False
BATCH = {
    "tokens": RNG.integers(0, V, (B, L)),
    "targets": RNG.integers(0, V, (B, L)),
    "predicted": PREDICTED,
    "next": np.array([1, 0, 0, 1, 1]),
    "mask": MASK,
}


def nats(logits, label):
    return math.log(np.exp(logits.astype(np.float64)).sum()) - float(logits[label])


@pytest.mark.parametrize("weight", [0.0, 0.5])
def test_metrics_by_hand(weight):
    task = MaskedLanguageModeling(weight)
    places = np.argwhere(PREDICTED & MASK[:, None])
    masked = np.mean([nats(OUTPUTS["masked"][b, l], BATCH["targets"][b, l]) for b, l in places])
    following = np.mean([nats(OUTPUTS["next"][b], BATCH["next"][b]) for b in np.flatnonzero(MASK)])
    sums = task.measure(jax.tree.map(jnp.asarray, OUTPUTS), BATCH)
    assert task.summarize(sums) == pytest.approx(
        {
            "loss": masked + weight * following,
            "masked_loss": masked,
            "masked_accuracy": np.mean([OUTPUTS["masked"][b, l].argmax() == BATCH["targets"][b, l] for b, l in places]),
            "perplexity": math.exp(masked),
            "next_loss": following,
            "next_accuracy": (OUTPUTS["next"].argmax(1) == BATCH["next"])[MASK].mean(),
        },
        rel=1e-5,
    )
    assert float(task.objective(sums)) == pytest.approx(masked + weight * following, rel=1e-5)
    assert {task.monitor, *task.headline} <= task.summarize(sums).keys()


def test_of_nothing_the_loss_is_zero_and_the_metrics_are_no_numbers():
    task = MaskedLanguageModeling()
    sums = task.measure(OUTPUTS, {**BATCH, "mask": np.zeros(B, bool)})
    assert task.objective(sums) == 0
    assert np.isnan(list(task.summarize(sums).values())).all()
    unmasked = task.measure(OUTPUTS, {**BATCH, "predicted": np.zeros((B, L), bool)})
    assert float(task.objective(unmasked)) == pytest.approx(task.summarize(unmasked)["next_loss"], rel=1e-6)


def test_predictions_of_a_bert():
    model, task = BertPretraining(layers=1, width=6, heads=3, vocabulary=V, max_length=L), MaskedLanguageModeling()
    batch = {**BATCH, "lengths": np.array([7, 3, 5, 7, 6]), "segments": (np.arange(L)[None] > 3) * np.ones((B, 1), int)}
    variables = jax.jit(model.init)(jax.random.key(0), task.inputs(model, batch))
    outputs = model.apply(variables, {name: batch[name] for name in ("tokens", "lengths", "segments")})
    found = task.predict(model, variables["params"], {}, batch)
    np.testing.assert_array_equal(found["label"], batch["next"])
    np.testing.assert_array_equal(found["prediction"], outputs["next"].argmax(1))
    np.testing.assert_allclose(found["probability"], jax.nn.softmax(outputs["next"]), rtol=1e-6)
    right = np.asarray(outputs["masked"].argmax(-1) == batch["targets"])
    for row in range(B):
        some = right[row, PREDICTED[row]]
        np.testing.assert_allclose(found["masked_accuracy"][row], some.mean() if some.size else np.nan)
    task.check(Schema({"targets": Tokens(V)}), outputs)
    with pytest.raises(UsageError, match="gives 11 logits, but the vocabulary of the data has 12 tokens"):
        task.check(Schema({"targets": Tokens(V + 1)}), outputs)
    with pytest.raises(UsageError, match="which the model does not give: choose a model for pretraining"):
        task.check(Schema({}), outputs["next"])
