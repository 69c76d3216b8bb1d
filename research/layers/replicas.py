"""Replicas of a program that share a batch, under `jax.pmap(..., axis_name=REPLICAS)`: each has some of its rows.

Replica i of n has the i-th of n equal parts of the rows. With the functions below it computes what one device computes
of the whole batch. Where the axis is not bound there is one replica, and they change nothing: under `jax.jit` a batch
is whole, however it lies on devices.
"""

from collections.abc import Callable

import jax

REPLICAS = "replicas"


def replicas() -> int:
    """Return how many replicas share the batch."""
    try:
        return jax.lax.axis_size(REPLICAS)
    except NameError:  # what JAX raises of an axis that is not bound
        return 1


def mean_over_replicas(statistic: jax.Array) -> jax.Array:
    """Return the mean of what each replica computed of its rows."""
    return jax.lax.pmean(statistic, REPLICAS) if replicas() > 1 else statistic


def draw_rows(draw: Callable[[tuple[int, ...]], jax.Array], shape: tuple[int, ...]) -> jax.Array:
    """Return draws of `shape` [b, ...], the rows of this replica among those drawn for the whole batch."""
    n = replicas()
    if n == 1:
        return draw(shape)
    b, *rest = shape
    return jax.lax.dynamic_slice_in_dim(draw((n * b, *rest)), jax.lax.axis_index(REPLICAS) * b, b)


def sum_over_replicas(part: jax.Array) -> jax.Array:
    """Return the sum of what each replica computed of its rows."""
    return jax.lax.psum(part, REPLICAS) if replicas() > 1 else part


def rows_of_replicas(rows: jax.Array) -> jax.Array:
    """Return the rows of all replicas, [b, ...] -> [n b, ...], those of the first before those of the second."""
    return jax.lax.all_gather(rows, REPLICAS, tiled=True) if replicas() > 1 else rows
