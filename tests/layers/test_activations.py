from functools import partial
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf, expit

from research.layers import Activation, activate
from research.layers.activations import gelu, gelu_tanh, silu

X = np.concatenate([np.linspace(-6, 6, 97), [-90.0, -1.0, -0.0, 0.0, 1.0, 90.0]]).astype(np.float32)

FORMULAS = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "gelu": lambda x: x * (1 + erf(x / np.sqrt(2))) / 2,
    "silu": lambda x: x * expit(x),
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "tanh": np.tanh,
    "sigmoid": expit,
    "hardsigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "step": lambda x: np.where(x >= 0, 1.0, 0.0),
}
DERIVATIVES = {
    "relu": lambda x: np.where(x > 0, 1.0, 0.0),
    "relu6": lambda x: np.where((x > 0) & (x < 6), 1.0, 0.0),
    "gelu": lambda x: (1 + erf(x / np.sqrt(2))) / 2 + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi),
    "silu": lambda x: expit(x) * (1 + x * (1 - expit(x))),
    "hardswish": lambda x: np.where(np.abs(x) < 3, (2 * x + 3) / 6, np.where(x > 0, 1.0, 0.0)),
    "tanh": lambda x: 1 - np.tanh(x) ** 2,
    "sigmoid": lambda x: expit(x) * (1 - expit(x)),
    "hardsigmoid": lambda x: np.where(np.abs(x) < 3, 1 / 6, 0.0),
    "step": lambda x: np.where(np.abs(x) <= 1, 1.0, 0.0),
}


def test_every_activation_has_a_formula_here():
    assert FORMULAS.keys() == DERIVATIVES.keys() == set(get_args(Activation))


@pytest.mark.parametrize("name", FORMULAS)
def test_activation_is_its_formula(name):
    out = activate(name, X)
    np.testing.assert_allclose(out, FORMULAS[name](X.astype(np.float64)), rtol=2e-5, atol=1e-6)
    assert out.dtype == jnp.float32 and activate(name, jnp.bfloat16(X)).dtype == jnp.bfloat16


@pytest.mark.parametrize("name", FORMULAS)
def test_derivative_is_its_formula_forward_and_backward(name):
    expected = DERIVATIVES[name](X.astype(np.float64))
    backward = jax.vmap(jax.grad(lambda x: activate(name, x)))(X)
    _, forward = jax.jvp(lambda x: activate(name, x), (X,), (np.ones_like(X),))
    np.testing.assert_allclose(backward, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(forward, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "ours, plain",
    [(gelu, partial(jax.nn.gelu, approximate=False)), (gelu_tanh, jax.nn.gelu), (silu, jax.nn.silu)],
    ids=["gelu", "gelu_tanh", "silu"],
)
def test_derivatives_of_every_order_are_those_of_the_plain_function(ours, plain):
    def outcome(function):
        slope = jax.grad(lambda x: jnp.sin(function(x)).sum())
        return function(X), slope(X), jax.jvp(slope, (X,), (np.cos(X),))[1], jax.grad(lambda x: slope(x).sum())(X)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), outcome(ours), outcome(plain))
    assert ours(jnp.bfloat16(X)).dtype == jax.grad(lambda x: ours(x).sum())(jnp.bfloat16(X)).dtype == jnp.bfloat16


def test_step_passes_the_gradient_straight_through_inside_one():
    x = jnp.array([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5])
    weight = jnp.array([2.0, 3.0, 5.0, 7.0, 11.0, 13.0, 17.0])
    np.testing.assert_array_equal(activate("step", x), [0, 0, 0, 1, 1, 1, 1])
    gradient = jax.jit(jax.grad(lambda x: (weight * activate("step", x)).sum()))(x)
    np.testing.assert_array_equal(gradient, [0, 3, 5, 7, 11, 13, 0])
