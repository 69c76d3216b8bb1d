"""Dropout whose rate may be an argument of the compiled program."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from research.fields import Rate, is_static_zero
from research.layers.replicas import draw_rows


class Dropout(nn.Module):
    """Zero each element of x [b, ...] with probability `rate` in training and scale the rest by 1 / (1 - rate).

    Draws from the `dropout` stream. A rate of 0.0 is part of the program and costs nothing; `flax.linen.Dropout` does
    not take a traced rate. Source: Srivastava et al. (2014), in the inverted form.
    """

    rate: Rate = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if not train or is_static_zero(self.rate):
            return x
        key = self.make_rng("dropout")
        keep = draw_rows(lambda shape: jax.random.bernoulli(key, 1.0 - self.rate, shape), x.shape)
        return jnp.where(keep, x / (1.0 - self.rate), 0).astype(x.dtype)
