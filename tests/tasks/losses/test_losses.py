import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.stats

from research.tasks.losses import elementwise

RNG = np.random.default_rng(0)
ESTIMATE, TARGET = RNG.normal(size=(2, 7, 5)).astype(np.float32) * 3


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_losses_equal_those_of_others():
    close(elementwise.squared(ESTIMATE, TARGET), (TARGET - ESTIMATE) ** 2)
    close(elementwise.absolute(ESTIMATE, TARGET), np.abs(TARGET - ESTIMATE))
    for delta in (0.3, 1.0, 5.0):
        close(elementwise.huber(ESTIMATE, TARGET, delta), optax.huber_loss(ESTIMATE, TARGET, delta=delta))
    log_variance = RNG.normal(size=(7, 5)).astype(np.float32)
    density = scipy.stats.norm.logpdf(TARGET, ESTIMATE, np.exp(log_variance / 2))
    close(elementwise.gaussian(ESTIMATE, log_variance, TARGET), -density)
    target, logits = (RNG.random((7, 5)) < 0.5).astype(np.int32), ESTIMATE * 30
    close(elementwise.binary_cross_entropy(logits, target), optax.sigmoid_binary_cross_entropy(logits, target))
    weighted = elementwise.binary_cross_entropy(logits, target, 3.0)
    close(weighted, np.where(target, 3, 1) * optax.sigmoid_binary_cross_entropy(logits, target))


@pytest.mark.parametrize("quantile", [0.05, 0.3, 0.5, 0.9])
def test_the_quantile_minimises_the_pinball_loss(quantile):
    sample = jnp.asarray(RNG.normal(size=1001), jnp.float32)
    grid = jnp.linspace(-3, 3, 1201)
    loss = jax.vmap(lambda estimate: elementwise.pinball(estimate, sample, quantile).mean())(grid)
    assert abs(grid[loss.argmin()] - np.quantile(sample, quantile)) < 0.02
    close(elementwise.pinball(1.0, np.array([3.0, 0.0]), quantile), [2 * quantile, 1 - quantile])


def test_losses_of_bfloat16_are_float32():
    logits = jnp.bfloat16(ESTIMATE)
    exact = elementwise.cross_entropy(logits.astype(jnp.float32), jnp.zeros(7, int))
    found = elementwise.cross_entropy(logits, jnp.zeros(7, int))
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, exact)


def test_the_likeliest_class_is_the_first_of_the_greatest_and_none_beside_nan():
    logits = RNG.integers(0, 3, size=(200, 4)).astype(np.float32)  # many are equal
    for label in range(4):
        labels = jnp.full(200, label)
        np.testing.assert_array_equal(
            elementwise.is_likeliest(jnp.asarray(logits), labels), logits.argmax(axis=-1) == label
        )
    spoilt = jnp.array([[1.0, 2.0, jnp.nan], [jnp.nan, 2.0, 1.0], [jnp.nan] * 3])
    for label in range(3):
        assert not elementwise.is_likeliest(spoilt, jnp.full(3, label)).any()
