"""Variance from the moments of batches, which keeps the digits that sums of squares would lose."""

import jax
import jax.numpy as jnp
import numpy as np


def moments(value: jax.Array, present: jax.Array) -> dict[str, jax.Array]:
    """Return count, mean and sum of squared deviations of the values [b, k] that are present, [1, k] each."""
    counts = present.sum(axis=0, keepdims=True)  # [1, k]
    means = value.sum(axis=0, keepdims=True) / jnp.maximum(counts, 1)
    spreads = jnp.where(present, jnp.square(value - means), 0).sum(axis=0, keepdims=True)
    return {"counts": counts, "means": means, "spreads": spreads}


def total_spread(counts: np.ndarray, means: np.ndarray, spreads: np.ndarray) -> np.ndarray:
    """Return the sum of squared deviations from the mean, [k], from those of batches, [n, k]; 0 where it is rounding.

    Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances" (1979).
    """
    counts, means, spreads = (np.asarray(each, np.float64) for each in (counts, means, spreads))
    count = counts.sum(axis=0)
    middle = (counts * means).sum(axis=0) / np.maximum(count, 1)
    spread = spreads.sum(axis=0) + (counts * (means - middle[None]) ** 2).sum(axis=0)
    return np.where(spread > count * (1e-6 * middle) ** 2, spread, 0)  # float32 has seven digits
