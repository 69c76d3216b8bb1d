from typing import get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.layers.normalization import Norm, Normalization, standardize

X = np.random.default_rng(0).normal(2.0, 3.0, (5, 3, 7)).astype(np.float32)
SCALE, BIAS = np.linspace(0.5, 2, 7, dtype=np.float32), np.linspace(-1, 1, 7, dtype=np.float32)
FORMULAS = {
    "layernorm": lambda x: (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 0.1) * SCALE + BIAS,
    "rmsnorm": lambda x: x / np.sqrt((x**2).mean(-1, keepdims=True) + 0.1) * SCALE,
}
PEERS = {"layernorm": nn.LayerNorm(0.1, use_fast_variance=False), "rmsnorm": nn.RMSNorm(0.1)}


def parameters(kind):
    return {"params": {"scale": SCALE} | ({"bias": BIAS} if kind == "layernorm" else {})}


def test_every_kind_has_a_formula_here():
    assert FORMULAS.keys() == PEERS.keys() == set(get_args(Norm))


@pytest.mark.parametrize("kind", FORMULAS)
@pytest.mark.parametrize("shape", [(5, 3, 7), (15, 7), (5, 3, 1, 7)])
def test_normalization_is_its_formula(kind, shape):
    x = X.reshape(shape)
    y = Normalization(kind, 0.1).apply(parameters(kind), x)
    np.testing.assert_allclose(y, FORMULAS[kind](x.astype(np.float64)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", FORMULAS)
def test_output_and_gradients_equal_those_of_linen(kind):
    weight = np.random.default_rng(1).normal(size=X.shape).astype(np.float32)

    def gradients(model):
        return jax.jit(jax.grad(lambda v, x: (weight * model.apply(v, x)).sum(), argnums=(0, 1)))(parameters(kind), X)

    ours, theirs = gradients(Normalization(kind, 0.1)), gradients(PEERS[kind])
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), ours, theirs)
    initial = Normalization(kind).init(jax.random.key(0), X)
    jax.tree.map(np.testing.assert_array_equal, initial, PEERS[kind].init(jax.random.key(0), X))


@pytest.mark.parametrize("kind", FORMULAS)
def test_statistics_are_float32_in_any_precision(kind):
    x = jnp.asarray(X * 100 + 2000, jnp.bfloat16)
    y = Normalization(kind, 0.1, "bfloat16").apply(parameters(kind), x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(float), FORMULAS[kind](np.asarray(x, np.float64)), rtol=0.01, atol=0.01)


@pytest.mark.parametrize("kind", FORMULAS)
def test_the_epsilon_is_an_argument_and_zeros_stay_finite(kind):
    run = jax.jit(lambda epsilon: Normalization(kind, epsilon).apply(parameters(kind), X))
    np.testing.assert_allclose(run(0.1), FORMULAS[kind](X), rtol=1e-5, atol=1e-5)
    assert np.isfinite(Normalization(kind).apply(parameters(kind), 0 * X)).all()


def test_derivatives_of_every_order_are_those_of_the_formula():
    arguments, tangents = (X, np.float32(0.3)), (np.cos(X), np.float32(0.7))

    def formula(x, epsilon):
        centred = x - x.mean(-1, keepdims=True)
        return centred / jnp.sqrt(jnp.square(centred).mean(-1, keepdims=True) + epsilon)

    def outcome(function):
        slope = jax.grad(lambda x, epsilon: jnp.sin(function(x, epsilon)).sum(), argnums=(0, 1))
        return jax.jvp(function, arguments, tangents), slope(*arguments), jax.jvp(slope, arguments, tangents)[1]

    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), outcome(standardize), outcome(formula)
    )
