"""Convolution, activation and pooling of images."""

from typing import Literal

import flax.linen as nn
import jax

from research.errors import UsageError
from research.fields import Size
from research.layers.activations import Activation, activate

Pooling = Literal["max", "average"]


def pool(x: jax.Array, kind: Pooling, window: int) -> jax.Array:
    """Reduce windows of `window` x `window` pixels, without overlap: [b, h, w, c] -> [b, h // window, w // window, c].

    Raises:
        UsageError: the image is smaller than the window.
    """
    b, h, w, c = x.shape
    if min(h, w) < window:
        raise UsageError(f"an image of {h} x {w} is too small to pool by {window}; use fewer blocks or a smaller pool")
    reduce = nn.max_pool if kind == "max" else nn.avg_pool
    return reduce(x, (window, window), strides=(window, window))


class ConvolutionBlock(nn.Module):
    """Convolution of the same size, activation, pooling: [b, h, w, c] -> [b, h // pool, w // pool, channels]."""

    channels: Size
    kernel: Size = 3
    pool: Size = 2
    pooling: Pooling = "max"
    activation: Activation = "relu"
    dtype: Literal["float32", "bfloat16"] = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.Conv(self.channels, (self.kernel, self.kernel), dtype=self.dtype)(x)  # [b, h, w, channels]
        x = activate(self.activation, x)
        return x if self.pool == 1 else pool(x, self.pooling, self.pool)  # [b, h // pool, w // pool, channels]
