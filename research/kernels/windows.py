"""The largest values of windows that do not overlap."""

import flax.linen as nn
import jax
import jax.numpy as jnp


def largest_of_windows(x: jax.Array, window: int) -> jax.Array:
    """Return the maxima of windows of `window` x `window` pixels: [b, h, w, c] -> [b, h // window, w // window, c].

    The gradient goes to the first of several equal maxima, row by row; what is no number wins. On a CPU pixels are
    compared one place of the window after the other: the gradient of XLA's own reduction of windows is slow there.
    """

    def compared(x: jax.Array) -> jax.Array:
        b, h, w, c = x.shape
        rows, columns = h // window, w // window
        tiles = x[:, : rows * window, : columns * window].reshape(b, rows, window, columns, window, c)
        largest = tiles[:, :, 0, :, 0]
        for place in range(1, window**2):
            other = tiles[:, :, place // window, :, place % window]
            largest = jnp.where((other > largest) | jnp.isnan(other), other, largest)
        return largest

    def reduced(x: jax.Array) -> jax.Array:
        return nn.max_pool(x, (window, window), (window, window))

    return jax.lax.platform_dependent(x, cpu=compared, default=reduced)
