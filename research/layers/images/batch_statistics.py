"""Batch normalization, with few sums over all pixels of all images."""

import jax
import jax.numpy as jnp

from research.kernels.statistics import over_pixels
from research.kernels.tracing import traced_once
from research.layers.replicas import mean_over_replicas


@traced_once()
def normalize_by_batch(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float | jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Give each channel mean 0 and variance 1, then scale and shift it, [b, h, w, c] and twice [c].

    Returns the images, and mean and variance of each channel over all pixels of all replicas, [c] both.
    The gradient of `resnet(50)` for two images of 64 x 64 pixels was traced in 0.61 and 0.64 of the processor time (two
    processes each).
    """

    def normalize(x: jax.Array, scale: jax.Array, bias: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        return _normalize(x, scale, bias, epsilon)

    y, mean, variance = over_pixels(normalize, x, scale, bias)
    return y, mean, variance


def _normalize(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float | jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Return the normalized x [..., c], and the mean and variance of each channel.

    The mean is taken away as a constant, the `origin`, whose value does not matter but for rounding, for
    (x - origin) a + (origin - mean) a = (x - mean) a. So the gradient needs two sums over pixels and not four.
    """
    axes = tuple(range(x.ndim - 1))
    mean = mean_over_replicas(x.mean(axis=axes))
    origin = jax.lax.stop_gradient(mean)
    centred = x - jnp.expand_dims(origin, axes)
    variance = mean_over_replicas(jnp.square(centred).mean(axis=axes)) - jnp.square(mean - origin)
    factor = scale * jax.lax.rsqrt(variance + epsilon)
    return (
        centred * jnp.expand_dims(factor, axes) + jnp.expand_dims(bias + factor * (origin - mean), axes),
        mean,
        variance,
    )
