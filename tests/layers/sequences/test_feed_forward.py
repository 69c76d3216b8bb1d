from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf, expit

from research.layers.sequences.feed_forward import FeedForward, FeedForwardKind

X = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)


def gelu(x):
    return x * (1 + erf(x / np.sqrt(2))) / 2


def gelu_tanh(x):
    return x / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


FORMULAS = {
    "relu": lambda x: np.maximum(x, 0),
    "gelu": gelu,
    "gelu_tanh": gelu_tanh,
    "geglu": gelu,
    "geglu_tanh": gelu_tanh,
    "swiglu": lambda x: x * expit(x),
}


def parameters(model):
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), X))
    generator = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: generator.normal(size=leaf.shape).astype(np.float32), shapes)


def forward(kind, params, x):
    """The layer in float64 numpy."""

    def dense(name, x):
        return x @ params[name]["kernel"].astype(np.float64) + params[name].get("bias", 0)

    hidden = FORMULAS[kind](dense("hidden", x))
    return dense("output", hidden * dense("linear", x) if "linear" in params else hidden)


def test_every_kind_has_a_formula_here():
    assert FORMULAS.keys() == set(get_args(FeedForwardKind))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", FORMULAS)
def test_output_and_gradient_are_those_of_the_formula(kind, bias):
    model = FeedForward(7, kind, bias)
    variables = parameters(model)
    params = variables["params"]
    names = {"hidden", "output"} | ({"linear"} if "glu" in kind else set())
    assert params.keys() == names and all(("bias" in layer) == bias for layer in params.values())
    expected = forward(kind, params, X.astype(np.float64))
    np.testing.assert_allclose(jax.jit(model.apply)(variables, X), expected, rtol=1e-4, atol=1e-5)
    weight = np.random.default_rng(2).normal(size=X.shape)
    gradient = jax.jit(jax.grad(lambda v: (weight.astype(np.float32) * model.apply(v, X)).sum()))(variables)["params"]
    for name, layer in params.items():
        index = tuple(np.array(layer["kernel"].shape) // 2)
        bumped = [np.float64(layer["kernel"]) for _ in range(2)]
        bumped[0][index] += 1e-5
        bumped[1][index] -= 1e-5
        up, down = (
            forward(kind, {**params, name: {**layer, "kernel": kernel}}, X.astype(np.float64)) for kernel in bumped
        )
        slope = (weight * (up - down)).sum() / 2e-5
        np.testing.assert_allclose(gradient[name]["kernel"][index], slope, rtol=1e-3, atol=1e-3)


def test_positions_do_not_see_each_other():
    model = FeedForward(7, "swiglu")
    variables = parameters(model)
    whole = model.apply(variables, X)
    np.testing.assert_allclose(model.apply(variables, X[:, 1:2]), whole[:, 1:2], rtol=1e-5, atol=1e-5)


def test_dropout_acts_on_the_hidden_layer_in_training_alone():
    variables = parameters(FeedForward(7))
    plain = FeedForward(7).apply(variables, X)
    np.testing.assert_array_equal(FeedForward(7, dropout=0.5).apply(variables, X), plain)
    np.testing.assert_array_equal(FeedForward(7).apply(variables, X, True), plain)
    dropped = FeedForward(7, dropout=0.9999).apply(variables, X, True, rngs={"dropout": jax.random.key(0)})
    np.testing.assert_allclose(dropped, np.broadcast_to(variables["params"]["output"]["bias"], X.shape), rtol=1e-6)


def test_bfloat16_is_the_precision_of_the_computation_alone():
    model = FeedForward(7, "geglu", dtype="bfloat16")
    variables = model.init(jax.random.key(0), X)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert model.apply(variables, X).dtype == jnp.bfloat16
