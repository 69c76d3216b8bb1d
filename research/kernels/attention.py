"""Attention: means of values, weighted by how well their keys match a query."""

import functools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from research.kernels.attention_blocks import HIDDEN, Blocks, in_blocks
from research.kernels.choice import forward_mode
from research.kernels.tracing import traced_once

Implementation = Literal["xla", "cudnn"]

# Measured by `python -m benchmarks.attention`: a CPU is fastest with blocks of so many queries, with a window of as
# many as that has, but no fewer than the least. What is no longer than a block is computed at once.
BLOCK = 128
LEAST_BLOCK = 64


def attend(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None = None,
    bias: jax.Array | None = None,
    *,
    causal: bool = False,
    window: int | None = None,
    implementation: Implementation = "xla",
) -> jax.Array:
    """Return softmax(query key^T / sqrt(d) + bias) value of [b, l, h, d] and twice [b, s, k, d]: -> [b, l, h, d].

    h is a multiple of k. `mask`, True where a key is seen, and `bias` are [b, h, l, s], with ones to broadcast;
    `causal` hides keys after a query, `window` those more than so many positions away. A query that sees none gets
    the mean of all values. Softmax is in float32.

    It is `jax.nn.dot_product_attention`, of which a CPU gets its own forms: products of the matrices of each head
    where there are few queries or keys, and else blocks of queries, so that memory grows with l + s rather than l s,
    and with a window time too. At length 2,048 value and gradient took a third of the time and 14 MB instead of 201 (4
    heads of 8 features, float32), with a window of 64 a fiftieth and 2 MB. The blocks have a backward pass of their
    own, so forward mode, as in `jax.jvp` and `jax.hessian`, works on any device only within `forward_mode`, which
    leaves all to `jax.nn`.
    """
    if implementation != "xla" or forward_mode.value:
        return by_jax(query, key, value, mask, bias, causal, window, implementation)
    return by_platform(query, key, value, mask, bias, causal=causal, window=window)


@traced_once(static=("causal", "window"))
def by_platform(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None,
    bias: jax.Array | None,
    *,
    causal: bool,
    window: int | None,
) -> jax.Array:
    """Return the same by the forms of a CPU on a CPU, by `jax.nn` elsewhere."""
    l, s = query.shape[1], key.shape[1]
    size = block_size(l, s, window)

    def on_cpu(query: Any, key: Any, value: Any, mask: Any, bias: Any) -> jax.Array:
        if size is None:
            return at_once(query, key, value, mask, bias, causal, window)
        return in_blocks(Blocks(l, s, size, causal, window), query, key, value, mask, bias)

    def elsewhere(query: Any, key: Any, value: Any, mask: Any, bias: Any) -> jax.Array:
        return by_jax(query, key, value, mask, bias, causal, window, "xla")

    return jax.lax.platform_dependent(query, key, value, mask, bias, cpu=on_cpu, default=elsewhere)


def by_jax(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None,
    bias: jax.Array | None,
    causal: bool,
    window: int | None,
    implementation: Implementation,
) -> jax.Array:
    """Return the same by `jax.nn`."""
    return jax.nn.dot_product_attention(
        query,
        key,
        value,
        bias=bias,
        mask=mask,
        is_causal=causal,
        local_window_size=None if window is None else (window, 0 if causal else window),
        implementation=implementation,
    )


def block_size(queries: int, keys: int, window: int | None) -> int | None:
    """Return how many queries a CPU takes at a time, in blocks of one size; None where it takes all at once."""
    size = BLOCK if window is None else min(max(window, LEAST_BLOCK), BLOCK)
    if min(queries, keys) <= size:
        return None
    return math.ceil(queries / math.ceil(queries / size))


def at_once(
    query: jax.Array,
    key: jax.Array,
    value: jax.Array,
    mask: jax.Array | None,
    bias: jax.Array | None,
    causal: bool,
    window: int | None,
) -> jax.Array:
    """Return the same from the matrix of all scores of a head, which is kept for the gradient."""
    b, l, h, d = query.shape
    s, k = key.shape[1:3]
    query = query.reshape(b, l, k, h // k, d).transpose(0, 2, 3, 1, 4).reshape(b, k, h // k * l, d)
    key, value = key.transpose(0, 2, 1, 3), value.transpose(0, 2, 1, 3)
    scores = jnp.einsum("bkrd,bksd->bkrs", query, key, preferred_element_type=jnp.float32) * d**-0.5
    scores = scores.reshape(b, h, l, s)
    if bias is not None:
        scores = scores + bias
    seen = [] if mask is None else [mask]
    if causal or window is not None:
        distance = np.arange(l)[:, None] - np.arange(s)[None, :]
        band = np.abs(distance) <= (max(l, s) if window is None else window)
        seen.append(jnp.asarray(band & (distance >= 0) if causal else band)[None, None])
    if seen:
        scores = jnp.where(functools.reduce(jnp.logical_and, seen), scores, HIDDEN)
    weights = jax.nn.softmax(scores, axis=-1).astype(value.dtype)
    y = jnp.einsum("bkrs,bksd->bkrd", weights.reshape(b, k, h // k * l, s), value)
    return y.reshape(b, h, l, d).transpose(0, 2, 1, 3)
