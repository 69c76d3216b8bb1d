import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.layers import Dropout

X = np.random.default_rng(0).normal(1.0, 2.0, (101, 997)).astype(np.float32)


def drop(rate, x, key):
    return Dropout(rate).apply({}, x, True, rngs={"dropout": key})


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_equals_that_of_linen(rate):
    key = jax.random.key(7)
    expected = nn.Dropout(rate, deterministic=False).apply({}, X, rngs={"dropout": key})
    np.testing.assert_array_equal(drop(rate, X, key), expected)
    np.testing.assert_allclose(jax.jit(drop)(rate, X, key), expected, rtol=1e-6)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_the_share_dropped_is_the_rate_and_the_mean_is_kept(rate):
    out = np.asarray(jax.jit(drop)(rate, X, jax.random.key(3)))
    dropped = out == 0
    deviation = np.sqrt(rate * (1 - rate) / X.size)
    assert abs(dropped.mean() - rate) < 4 * deviation
    np.testing.assert_allclose(out[~dropped], X[~dropped] / (1 - rate), rtol=1e-5)
    spread = np.sqrt((X.astype(np.float64) ** 2).mean() * rate / (1 - rate) / X.size)
    assert abs(out.mean() - X.mean()) < 4 * spread
    for axis in (0, 1):  # each element has a draw of its own: no row or column is dropped as one
        size = X.shape[axis]
        assert np.abs(dropped.mean(axis) - rate).max() < 6 * np.sqrt(rate * (1 - rate) / size)
        assert dropped.mean(axis).std() > 0.5 * np.sqrt(rate * (1 - rate) / size)


def test_draws_are_a_function_of_the_key():
    one, again, other = (drop(0.5, X, jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert 0.4 < (np.asarray(one == 0) == np.asarray(other == 0)).mean() < 0.6


def test_evaluation_is_the_identity_and_draws_nothing():
    for rate in (0.0, 0.5):
        assert Dropout(rate).apply({}, X, False) is X
    out = jax.jit(lambda rate: Dropout(rate).apply({}, X, False))(0.5)
    np.testing.assert_array_equal(out, X)


def test_no_dropout_draws_nothing():
    assert Dropout(0.0).apply({}, X, True) is X
    with pytest.raises(Exception, match="dropout"):
        Dropout(0.5).apply({}, X, True)


def test_a_rate_of_zero_as_an_argument_keeps_everything():
    np.testing.assert_array_equal(jax.jit(drop)(0.0, X, jax.random.key(0)), X)


def test_the_rate_is_an_argument_and_maps():
    traced = jax.jit(chex.assert_max_traces(drop, n=1))
    key, rates = jax.random.key(0), jnp.array([0.1, 0.3, 0.7])
    single = [traced(rate, X[:11], key) for rate in rates]
    for out, rate in zip(single, rates, strict=True):
        np.testing.assert_allclose(out, drop(float(rate), X[:11], key), rtol=1e-5)
    together = jax.vmap(drop, in_axes=(0, None, None))(rates, X[:11], key)
    np.testing.assert_allclose(together, single, rtol=1e-6)


def test_the_gradient_goes_through_what_is_kept():
    x, key = X[:3], jax.random.key(0)
    gradient = jax.grad(lambda x: drop(0.25, x, key).sum())(x)
    np.testing.assert_allclose(gradient, np.where(drop(0.25, x, key) == 0, 0, 1 / 0.75), rtol=1e-6)


@pytest.mark.parametrize("rate", [0.3, jnp.float32(0.3)])
def test_precision_is_kept(rate):
    assert drop(rate, jnp.bfloat16(X), jax.random.key(0)).dtype == jnp.bfloat16
