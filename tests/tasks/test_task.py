from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.errors import UsageError
from research.layers import Dropout
from research.models import Seq2Seq
from research.tasks import Classification, LanguageModeling, SequenceToSequence, Task


class Network(nn.Module):
    """A model with batch statistics and dropout."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.5)(x)
        return Dropout(0.5)(nn.Dense(5)(x), train)


X = np.random.default_rng(0).normal(2.0, 3.0, (7, 11)).astype(np.float32)
BATCH = {"image": X, "label": np.zeros(7, np.int32)}


def test_training_draws_dropout_and_gives_back_changed_variables():
    variables = dict(Network().init(jax.random.key(0), X))
    params = variables.pop("params")
    one, updated = Classification().forward(Network(), params, variables, BATCH, jax.random.key(1))
    again, _ = Classification().forward(Network(), params, variables, BATCH, jax.random.key(1))
    other, _ = Classification().forward(Network(), params, variables, BATCH, jax.random.key(2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other) and (one == 0).any()
    assert jax.tree.structure(updated) == jax.tree.structure(variables)
    mean = updated["batch_stats"]["BatchNorm_0"]["mean"]
    np.testing.assert_allclose(mean, X.mean(0) / 2, rtol=1e-5, atol=1e-5)


def test_evaluation_changes_nothing():
    variables = dict(Network().init(jax.random.key(0), X))
    params = variables.pop("params")
    outputs, after = Classification().forward(Network(), params, variables, BATCH)
    assert after is variables
    np.testing.assert_array_equal(outputs, Network().apply({"params": params, **variables}, X))


def test_a_model_without_variables_has_none_after_training():
    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            return nn.Dense(3)(x)

    params = Plain().init(jax.random.key(0), X)["params"]
    outputs, variables = Classification().forward(Plain(), params, {}, BATCH, jax.random.key(0))
    assert outputs.shape == (7, 3) and not variables


def test_the_objective_is_the_weighted_mean():
    assert Task().objective({"loss": jnp.float32(6), "weight": jnp.float32(4)}) == 1.5
    assert Task().objective({"loss": jnp.float32(0), "weight": jnp.float32(0)}) == 0
    assert Task().details({}) == {}


def test_no_model_is_shown_the_answers_or_what_evaluation_adds():
    task, model = SequenceToSequence(), Seq2Seq()
    batch = {"tokens": 1, "lengths": 2, "targets": 3, "labels": 4, "label_lengths": 5, "mask": 6, "row": 7}
    assert task.inputs(model, batch) == task.inputs(Network(), batch) == {"tokens": 1, "lengths": 2, "targets": 3}
    assert Classification().inputs(Network(), {"features": X, "label": 1, "mask": 2, "row": 3}) is X
    with pytest.raises(UsageError, match="Seq2Seq reads targets, but the data gives it tokens: choose another model"):
        LanguageModeling().inputs(model, {"tokens": 1, "targets": 2, "lengths": 3, "bytes": 4})


class Sampler(nn.Module):
    """A model that says what its streams of randomness draw."""

    @nn.compact
    def __call__(self, x, train=False):
        return [jax.random.bits(self.make_rng(name)) for name in ("dropout", "sampling")]


def test_sampling_has_a_stream_of_its_own_and_dropout_keeps_its_draws():
    key = jax.random.key(5)
    (dropout, sampling), _ = Classification().forward(Sampler(), {}, {}, BATCH, key)
    assert dropout == Sampler().apply({}, X, rngs={"dropout": key, "sampling": key})[0]
    assert dropout != sampling


def test_evaluation_and_prediction_come_from_the_outputs():
    variables = dict(Network().init(jax.random.key(0), X))
    params, task = variables.pop("params"), Classification()
    outputs, _ = task.forward(Network(), params, variables, BATCH)
    for found, expected in [
        (task.evaluate(Network(), params, variables, BATCH), task.measure(outputs, BATCH)),
        (task.predict(Network(), params, variables, BATCH), task.predictions(outputs, BATCH)),
    ]:
        jax.tree.map(np.testing.assert_array_equal, found, expected)
    assert task.illustrate(Network(), params, variables, BATCH, lambda columns: columns, Path()) == {}


def test_data_of_another_kind_is_refused():
    with pytest.raises(UsageError, match="Classification needs label, but the data gives image, target: choose"):
        Classification().forward(Network(), {}, {}, {"image": X, "target": X})


@pytest.mark.parametrize("method, arguments", [("measure", 2), ("summarize", 1), ("predictions", 2)])
def test_a_task_says_what_it_must_answer(method, arguments):
    with pytest.raises(NotImplementedError):
        getattr(Task(), method)(*[{}] * arguments)
