"""How a Transformer learns where its tokens stand: by name, and as pure functions of positions.

Positions are integers [b, l], or [1, l] where all rows share them, so that the same functions serve a whole sequence
and one token decoded after another. `sinusoidal` and `learned` are added to the embeddings, `rotary` turns queries and
keys, `relative` and `alibi` are added to the attention scores, [b, h, l, s] for queries at l and keys at s positions.
"""

import math
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.nn.initializers import Initializer

from research.errors import UsageError
from research.fields import Range, Size

Positions = Literal["none", "sinusoidal", "learned", "rotary", "relative", "alibi"]
RotaryBase = Annotated[float, Range(1.0)]


def consecutive(length: int, first: int = 0) -> np.ndarray:
    """Return the positions of a whole sequence, first, first + 1, ..., as [1, length].

    They are known while a program is traced, so what depends on them alone need not be computed at each step.
    """
    return np.arange(first, first + length, dtype=np.int32)[None, :]


def restarting(documents: jax.Array) -> jax.Array:
    """Return the position of each step within its own text: documents [b, l], neighbours alike, -> [b, l]."""
    step = jnp.arange(documents.shape[1])[None]  # [1, l]
    begins = jnp.diff(documents, axis=1, prepend=documents[:, :1] - 1) != 0
    return step - jax.lax.cummax(jnp.where(begins, step, 0), axis=1)


def sinusoidal(positions: jax.Array | np.ndarray, width: int) -> jax.Array:
    """Return sines and cosines of positions, [b, l] -> [b, l, width], float32; of `consecutive` ones a constant.

    Even features are sin(p / 10000^(2i / width)), odd ones the cosine of the same angle. Source: Vaswani et al. (2017,
    section 3.5).
    """
    # XLA computes what it can while it reads: the sines of traced positions once for each operation that reads the
    # embeddings, a tenth of the time of a step of a small language model.
    numpy: Any = np if isinstance(positions, np.ndarray) else jnp
    feature = np.arange(width)
    frequency = (10000.0 ** (-(feature // 2 * 2) / width)).astype(np.float32)
    angle = positions[:, :, None].astype(np.float32) * frequency[None, None, :]  # [b, l, width]
    return jnp.asarray(numpy.where(feature[None, None, :] % 2 == 0, numpy.sin(angle), numpy.cos(angle)))


def sinusoidal_2d(height: int, width: int, features: int) -> jax.Array:
    """Return sines and cosines of the places of a grid, [height, width, features], float32.

    The features are four equal parts: sine and cosine of the column, then of the row, at frequencies from 1 down to
    1 / 10000. Source: Beyer, Zhai and Kolesnikov, "Better plain ViT baselines for ImageNet-1k" (2022).

    Raises:
        UsageError: the features cannot be split into four.
    """
    if features % 4:
        raise UsageError(f"two-dimensional sinusoidal positions need a width divisible by 4, not {features}")
    quarter = features // 4
    frequency = 10000.0 ** (-np.arange(quarter) / max(quarter - 1, 1))
    column = np.broadcast_to(np.arange(width)[None, :, None] * frequency, (height, width, quarter))
    row = np.broadcast_to(np.arange(height)[:, None, None] * frequency, (height, width, quarter))
    table = np.concatenate([np.sin(column), np.cos(column), np.sin(row), np.cos(row)], axis=-1)
    return jnp.asarray(table, jnp.float32)


class LearnedPositions(nn.Module):
    """A learned vector for each position, [b, l] -> [b, l, width], float32. Source: Gehring et al. (2017).

    Raises:
        UsageError: there are more positions than `max_length`.
    """

    max_length: Size
    width: Size
    embedding_init: Initializer = nn.initializers.normal(0.02)

    @nn.compact
    def __call__(self, positions: jax.Array | np.ndarray) -> jax.Array:
        b, l = positions.shape
        first = int(positions[0, 0]) if isinstance(positions, np.ndarray) else None
        check_length(l + (first or 0), self.max_length)
        table = self.param("table", self.embedding_init, (self.max_length, self.width))
        if first is not None:  # `consecutive`: a slice, whose gradient is no scatter
            return table[None, first : first + l]  # [1, l, width]
        return table[positions]  # [b, l, width]


def check_length(length: int, max_length: int) -> None:
    """Raise `UsageError` where a sequence has more positions than were learned."""
    if length > max_length:
        raise UsageError(
            f"a sequence of {length} positions is longer than the learned ones, max_length={max_length}; raise it, "
            "or choose positions that need no table"
        )


def rotary(x: jax.Array, positions: jax.Array, base: float | jax.Array = 10000.0) -> jax.Array:
    """Turn queries or keys by angles that grow with their position, [b, l, h, d] -> [b, l, h, d].

    Feature i < d / 2 and feature i + d / 2 are turned together by p / base^(2i / d): the halves of a head are paired,
    as in GPT-NeoX and Llama, where the paper pairs neighbours; the two differ by a permutation of a head's features.
    The product of a query and a key then depends on the difference of their positions alone. Source: Su et al. (2021,
    eq. 34).

    Raises:
        UsageError: a head has an odd width.
    """
    b, l, h, d = x.shape
    if d % 2:
        raise UsageError(f"rotary positions need heads of even width, not {d}: change width or heads")
    frequency = jnp.float32(base) ** jnp.asarray(-np.arange(0, d, 2) / d, jnp.float32)  # [d / 2]
    angle = positions[:, :, None, None].astype(jnp.float32) * frequency[None, None, None, :]  # [b, l, 1, d / 2]
    cosine, sine = jnp.cos(angle), jnp.sin(angle)
    one, other = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([one * cosine - other * sine, other * cosine + one * sine], axis=-1).astype(x.dtype)


def relative_buckets(distance: jax.Array, bidirectional: bool, buckets: int = 32, max_distance: int = 128) -> jax.Array:
    """Return the bucket, in [0, buckets), of each distance key - query.

    Half of the buckets hold one distance each, the others ranges that grow geometrically up to `max_distance`; beyond
    it all share the last one. If bidirectional, keys after the query have buckets of their own; otherwise they are in
    bucket 0, with the query itself. Source: Raffel et al., "T5" (2020, section 2.1).
    """
    side = buckets // 2 if bidirectional else buckets
    exact = side // 2
    # A table from float64: in float32 a logarithm may fall on the wrong side of a boundary.
    away = np.arange(max_distance + 1)
    growth = np.log(np.maximum(away, 1) / exact) / math.log(max_distance / exact) * (side - exact)
    coarse = np.minimum(exact + np.floor(growth + 1e-9), side - 1)
    table = jnp.asarray(np.where(away < exact, away, coarse), jnp.int32)
    steps = jnp.abs(distance) if bidirectional else jnp.maximum(-distance, 0)
    bucket = table[jnp.minimum(steps, max_distance)]
    return bucket + side * (distance > 0) if bidirectional else bucket


class RelativePositions(nn.Module):
    """A learned score for each head and bucket of distances, [b, l] and [b, s] -> [b, h, l, s], float32.

    Source: Raffel et al. (2020, section 2.1); see `relative_buckets`. All layers of a stack share one table.
    """

    heads: Size
    bidirectional: bool = True
    buckets: Size = 32
    max_distance: Size = 128
    embedding_init: Initializer = nn.initializers.normal(0.02)

    @nn.compact
    def __call__(self, query: jax.Array, key: jax.Array) -> jax.Array:
        table = self.param("table", self.embedding_init, (self.buckets, self.heads))
        distance = key[:, None, :] - query[:, :, None]  # [b, l, s]
        bucket = relative_buckets(distance, self.bidirectional, self.buckets, self.max_distance)
        return jnp.moveaxis(table[bucket], -1, 1)  # [b, h, l, s]


def alibi_slopes(heads: int) -> np.ndarray:
    """Return the slope of each head, 2^(-8 i / heads) for i = 1 ... heads where heads is a power of two.

    Otherwise the slopes of the power of two below come first, then every other one of those of the power of two above.
    Source: Press, Smith and Lewis (2022, section 3) and the code that goes with it.
    """
    below = 2 ** math.floor(math.log2(heads))
    slopes = 2.0 ** (-8 * np.arange(1, below + 1) / below)
    between = 2.0 ** (-8 * np.arange(1, 2 * below, 2) / (2 * below))
    return np.concatenate([slopes, between])[:heads]


def alibi(heads: int, query: jax.Array, key: jax.Array) -> jax.Array:
    """Return scores that fall with distance, [b, l] and [b, s] -> [b, h, l, s], float32: -slope * |query - key|.

    Without a causal mask both directions fall alike, the symmetric form of the paper's authors. Source: Press, Smith
    and Lewis (2022, section 3); see `alibi_slopes`.
    """
    distance = jnp.abs(key[:, None, None, :] - query[:, None, :, None]).astype(jnp.float32)  # [b, 1, l, s]
    return -jnp.asarray(alibi_slopes(heads), jnp.float32)[None, :, None, None] * distance
