"""Stochastic depth: residual branches that are left out by chance."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from research.fields import Rate, is_static_zero
from research.layers.replicas import draw_rows


def growing(rate: Rate, total: int) -> tuple[Rate, ...]:
    """Return the rate of each of `total` branches, linear from 0 at the first to `rate` at the last; 0.0 stays 0.0."""
    return tuple(rate * (index / max(total - 1, 1)) for index in range(total))


class StochasticDepth(nn.Module):
    """Leave out the branch of each example with probability `rate` in training, [b, ...] -> [b, ...].

    What stays is scaled by 1 / (1 - rate), so that evaluation needs no scale. Draws from the `dropout` stream. A rate
    of 0.0 costs nothing. Source: Huang et al., "Deep networks with stochastic depth" (2016), there per batch.
    """

    rate: Rate = 0.0

    @nn.compact
    def __call__(self, branch: jax.Array, train: bool) -> jax.Array:
        if not train or is_static_zero(self.rate):
            return branch
        key = self.make_rng("dropout")
        keep = draw_rows(lambda shape: jax.random.bernoulli(key, 1.0 - self.rate, shape), (len(branch),))  # [b]
        keep = keep.reshape(-1, *(1,) * (branch.ndim - 1))  # [b, 1, ...]
        return jnp.where(keep, branch / (1.0 - self.rate), 0).astype(branch.dtype)
