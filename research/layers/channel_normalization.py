"""Normalization of the channels of images, by name."""

import math
from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from research.fields import Fraction, NonNegative
from research.layers.normalization import root_mean_square, standardize
from research.layers.replicas import mean_over_replicas, replicas

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
        scale = self.param("scale", self.scale_init, (c,))[None, None, None]
        x = x.astype(jnp.float32)
        match self.kind:
            case "batchnorm":
                mean, variance = self._statistics(x, train)
                y = (x - mean[None, None, None]) * jax.lax.rsqrt(variance + self.epsilon)[None, None, None]
            case "layernorm":
                y = standardize(x, self.epsilon)
            case "groupnorm":
                groups = math.gcd(GROUPS, c)
                split = jnp.moveaxis(x.reshape(b, h * w, groups, c // groups), 2, 1).reshape(b, groups, -1)
                y = standardize(split, self.epsilon).reshape(b, groups, h * w, c // groups)
                y = jnp.moveaxis(y, 1, 2).reshape(b, h, w, c)
            case "rmsnorm":
                return (root_mean_square(x, self.epsilon) * scale).astype(self.dtype)
        bias = self.param("bias", nn.initializers.zeros, (c,))[None, None, None]
        return (y * scale + bias).astype(self.dtype)

    def _statistics(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Return mean and variance of each channel, [c] both; in training also update their running averages."""
        b, h, w, c = x.shape
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, (c,))
        running_variance = self.variable("batch_stats", "var", jnp.ones, (c,))
        if not train:
            return running_mean.value, running_variance.value
        mean = mean_over_replicas(x.mean(axis=(0, 1, 2)))
        variance = mean_over_replicas(jnp.square(x - mean[None, None, None]).mean(axis=(0, 1, 2)))
        n = replicas() * b * h * w
        for running, statistic in ((running_mean, mean), (running_variance, variance * n / max(n - 1, 1))):
            running.value = self.momentum * running.value + (1 - self.momentum) * statistic
        return mean, variance
