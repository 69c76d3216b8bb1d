import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.layers.images.local_response import local_response_normalization

X = np.random.default_rng(0).normal(size=(2, 3, 5, 7)).astype(np.float32) * 30


@pytest.mark.parametrize("window", [1, 3, 5, 11])
def test_it_equals_the_formula_channel_by_channel(window):
    channels = X.shape[-1]
    expected = np.zeros(X.shape)
    for i in range(channels):
        near = slice(max(0, i - window // 2), min(channels - 1, i + window // 2) + 1)
        expected[..., i] = X[..., i] / (2 + 1e-4 * np.square(X[..., near].astype(np.float64)).sum(-1)) ** 0.75
    np.testing.assert_allclose(local_response_normalization(X, window), expected, rtol=1e-5)


def test_it_keeps_the_type_and_has_a_gradient():
    half = jnp.asarray(X, jnp.bfloat16)
    gradient = jax.grad(lambda x: local_response_normalization(x).astype(jnp.float32).sum())(half)
    assert gradient.dtype == local_response_normalization(half).dtype == jnp.bfloat16
    assert np.all(np.isfinite(gradient.astype(jnp.float32)))
