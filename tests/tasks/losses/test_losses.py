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


def test_what_is_right_is_not_pushed():
    """JAX says that |x| rises at 0, and of two equal sides takes half of each."""
    for loss in (
        elementwise.absolute,
        lambda e, t: elementwise.pinball(e, t, 0.9),
        lambda e, t: elementwise.huber(e, t, 1),
    ):
        slopes = jax.vmap(jax.grad(loss), (0, None))(jnp.array([1.0, 2.0, 3.0]), 2.0)
        assert slopes[0] < 0 == slopes[1] < slopes[2]


def test_a_certain_estimate_that_is_right_has_a_loss():
    """The formula gives it; infinity times nothing is no number."""
    value, slope = jax.value_and_grad(elementwise.gaussian, argnums=(0, 1))(0.0, -100.0, 0.0)
    assert float(value) == pytest.approx((np.log(2 * np.pi) - 100) / 2)
    assert np.isfinite(slope).all()


def test_no_smoothing_leaves_a_class_ruled_out_alone():
    """Also where a sweep makes an argument of it, so that 0 times infinity is computed."""
    logits, label = jnp.array([[0.0, 1.0, -jnp.inf]]), jnp.array([1])
    for smoothing in (0.0, jnp.float32(0)):
        value, slope = jax.value_and_grad(lambda x, s=smoothing: elementwise.cross_entropy(x, label, s).sum())(logits)
        close(value, np.log(1 + np.exp(-1)))
        close(slope, [[1 / (1 + np.e), -1 / (1 + np.e), 0]])


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
