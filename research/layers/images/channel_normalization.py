"""Normalization of the channels of images, by name."""

import math
from typing import Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from research.errors import unknown
from research.fields import Fraction, NonNegative
from research.layers.images.batch_statistics import normalize_by_batch
from research.layers.normalization import root_mean_square, standardize
from research.layers.replicas import replicas

ChannelNorm = Literal["batchnorm", "layernorm", "groupnorm", "rmsnorm", "none"]

GROUPS = 32


class ChannelNormalization(nn.Module):
    """Normalize, then scale and shift each channel, [b, h, w, c] -> [b, h, w, c]; statistics are float32.

    `batchnorm` (Ioffe and Szegedy, 2015, algorithms 1 and 2) takes mean and variance of each channel over the batch and
    all pixels, and in evaluation their running averages, kept in the collection `batch_stats`: a training step makes an
    average `momentum * average + (1 - momentum) * statistic`, the variance with n - 1 in its denominator. Over several
    devices the batch is the global one. `layernorm` (Ba et al., 2016) and `rmsnorm` (Zhang and Sennrich, 2019; no
    shift) take those of the channels of one pixel; `groupnorm` (Wu and He, 2018) of a group of channels of one image,
    with 32 groups, or as many as 32 and the channels have as greatest common divisor; `none` does nothing.
    """

    kind: ChannelNorm = "batchnorm"
    momentum: Fraction = 0.9
    epsilon: NonNegative = 1e-5
    dtype: Literal["float32", "bfloat16"] = "float32"
    scale_init: Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        if self.kind == "none":
            return x
        b, h, w, c = x.shape
        scale = self.param("scale", self.scale_init, (c,))
        x = x.astype(jnp.float32)
        match self.kind:
            case "batchnorm":
                bias = self.param("bias", nn.initializers.zeros, (c,))
                return self._normalized(x, scale, bias, train).astype(self.dtype)
            case "layernorm":
                y = standardize(x, self.epsilon)
            case "groupnorm":
                groups = math.gcd(GROUPS, c)
                split = jnp.moveaxis(x.reshape(b, h * w, groups, c // groups), 2, 1).reshape(b, groups, -1)
                y = standardize(split, self.epsilon).reshape(b, groups, h * w, c // groups)
                y = jnp.moveaxis(y, 1, 2).reshape(b, h, w, c)
            case "rmsnorm":
                return (root_mean_square(x, self.epsilon) * scale[None, None, None]).astype(self.dtype)
            case _:
                raise unknown("normalization", self.kind, get_args(ChannelNorm))
        bias = self.param("bias", nn.initializers.zeros, (c,))
        return (y * scale[None, None, None] + bias[None, None, None]).astype(self.dtype)

    def _normalized(self, x: jax.Array, scale: jax.Array, bias: jax.Array, train: bool) -> jax.Array:
        """Return the output of batch normalization; in training also update the running averages."""
        b, h, w, c = x.shape
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (c,))
        running_variance = self.variable("batch_stats", "var", jnp.ones, (c,))
        if not train:
            centred = x - running_mean.value[None, None, None]
            y = centred * jax.lax.rsqrt(running_variance.value + self.epsilon)[None, None, None]
            return y * scale[None, None, None] + bias[None, None, None]
        y, mean, variance = normalize_by_batch(x, scale, bias, self.epsilon)
        n = replicas() * b * h * w
        for running, statistic in ((running_mean, mean), (running_variance, variance * n / max(n - 1, 1))):
            running.value = self.momentum * running.value + (1 - self.momentum) * statistic
        return y
