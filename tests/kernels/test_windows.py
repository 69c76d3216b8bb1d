import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.kernels.windows import largest_of_windows

TIES = np.random.default_rng(0).integers(-2, 3, (2, 11, 7, 3)).astype(np.float32)  # most windows have equal maxima


def reduced(x, window):
    return nn.max_pool(x, (window, window), (window, window))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("window", [1, 2, 3, 7])
def test_values_and_gradients_are_those_of_reduced_windows(window, dtype):
    """So the first of equal maxima gets the gradient, and pixels beyond the last window get none."""
    x = jnp.asarray(TIES, dtype)
    weight = jnp.asarray(np.random.default_rng(1).normal(size=reduced(x, window).shape), dtype)

    def run(function):
        y, pull = jax.vjp(lambda x: function(x, window), x)
        return y, *pull(weight)

    for ours, expected in zip(run(largest_of_windows), run(reduced), strict=True):
        assert ours.dtype == dtype
        np.testing.assert_array_equal(ours, expected)


def test_the_gradient_of_equal_maxima_by_hand():
    x = jnp.asarray([[0.0, 5, 5, 1], [5, 5, 2, 5]])[None, :, :, None]
    gradient = jax.grad(lambda x: (largest_of_windows(x, 2) * jnp.asarray([[[[3.0], [7.0]]]])).sum())(x)
    np.testing.assert_array_equal(gradient[0, ..., 0], [[0, 3, 7, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize("place", range(4))
def test_what_is_no_number_is_seen(place):
    x = jnp.asarray(TIES[:, :4, :4]).at[1, place // 2, place % 2, 2].set(jnp.nan)
    expected = np.asarray(reduced(jnp.asarray(TIES[:, :4, :4]), 2)).copy()
    expected[1, 0, 0, 2] = np.nan
    np.testing.assert_array_equal(largest_of_windows(x, 2), expected)
    np.testing.assert_array_equal(largest_of_windows(jnp.full_like(x, -jnp.inf), 2), -np.inf)


def test_several_at_once_in_a_scan_with_remat_and_both_modes_of_differentiation():
    xs, tangent = jnp.asarray(np.stack([TIES, -TIES, TIES + 1])), jnp.cos(jnp.asarray(TIES))

    def loss(function):
        return lambda x: jnp.sin(function(x, 2)).sum()

    expected = jnp.stack([jax.grad(loss(reduced))(x) for x in xs])
    gradient = jax.grad(jax.checkpoint(loss(largest_of_windows)))
    np.testing.assert_allclose(jax.jit(jax.vmap(gradient))(xs), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.lax.scan(lambda _, x: (None, gradient(x)), None, xs)[1], expected, rtol=1e-6)
    forward = jax.jvp(loss(largest_of_windows), (xs[0],), (tangent,))[1]
    np.testing.assert_allclose(forward, (expected[0] * tangent).sum(), rtol=1e-4)
    curvature = jax.grad(lambda x: (jax.grad(loss(largest_of_windows))(x) * tangent).sum())(xs[0])
    largest = np.asarray(jax.grad(lambda x: reduced(x, 2).sum())(xs[0]))
    np.testing.assert_allclose(curvature, -np.sin(TIES) * largest * tangent, rtol=1e-5, atol=1e-6)


def test_accelerators_reduce_windows():
    x = jnp.zeros((2, 11, 7, 5))
    lower = jax.jit(jax.grad(lambda x: largest_of_windows(x, 2).sum())).trace(x).lower
    found = {platform: lower(lowering_platforms=(platform,)).as_text() for platform in ("cpu", "cuda", "tpu")}
    assert {platform: "select_and_scatter" in text for platform, text in found.items()} == {
        "cpu": False,
        "cuda": True,
        "tpu": True,
    }
