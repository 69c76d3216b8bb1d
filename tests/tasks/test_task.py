import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.layers import Dropout
from research.tasks import Classification, Task


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
    assert Task().details({}) == {}


@pytest.mark.parametrize("method, arguments", [("inputs", 1), ("measure", 2), ("summarize", 1), ("predictions", 1)])
def test_a_task_says_what_it_must_answer(method, arguments):
    with pytest.raises(NotImplementedError):
        getattr(Task(), method)(*[{}] * arguments)
