"""Attention in blocks of queries, whose scores are computed anew in the backward pass rather than kept."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

HIDDEN = float(-0.7 * np.finfo(np.float32).max)  # the score of what is not seen, as in `jax.nn`


@dataclasses.dataclass(frozen=True)
class Blocks:
    """Which keys the blocks of queries look at: all of them, or those that a window leaves in sight."""

    queries: int
    keys: int
    size: int
    causal: bool
    window: int | None

    @property
    def count(self) -> int:
        """How many blocks there are; the last may be filled up."""
        return -(-self.queries // self.size)

    @property
    def before(self) -> int:
        """How many keys before its first query a block looks at."""
        return self.window or 0

    @property
    def reach(self) -> int:
        """How many keys a block looks at."""
        if self.window is None:
            return self.keys
        return self.before + self.size + (0 if self.causal else self.window)

    @property
    def padding(self) -> tuple[int, int]:
        """How many keys have to be added in front and at the end, for every block to have as many."""
        last = (self.count - 1) * self.size + self.reach
        return (0, 0) if self.window is None else (self.before, max(0, last - self.before - self.keys))

    def corner(self, index: jax.Array) -> tuple[jax.Array, jax.Array | int]:
        """Return the first query of a block, and the first of the padded keys that it looks at."""
        return index * self.size, 0 if self.window is None else index * self.size

    def seen(self, index: jax.Array, mask: jax.Array | None) -> jax.Array | None:
        """Return where the queries of a block see the keys it looks at, [..., size, reach]; None for everywhere."""
        first, left = self.corner(index)
        query = (first + jnp.arange(self.size))[:, None]
        key = (left - self.before + jnp.arange(self.reach))[None, :]
        seen = [] if mask is None else [mask]
        if self.causal:
            seen.append((key <= query)[None, None, None])
        if self.window is not None:
            inside = (key >= 0) & (key < self.keys) & (key >= query - self.window)
            seen.append((inside if self.causal else inside & (key <= query + self.window))[None, None, None])
        return functools.reduce(jnp.logical_and, seen) if seen else None


def in_blocks(
    blocks: Blocks, query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array | None, bias: jax.Array | None
) -> jax.Array:
    """Return the attention of [b, l, h, d] to twice [b, s, k, d], with mask and bias [b, h, l, s]: -> [b, l, h, d]."""
    b, l, h, d = query.shape
    k = key.shape[2]
    rest = blocks.count * blocks.size - l
    query = jnp.pad(query, ((0, 0), (0, rest), (0, 0), (0, 0)))
    query = query.reshape(b, blocks.count, blocks.size, k, h // k, d).transpose(1, 0, 3, 4, 2, 5)  # [n, b, k, g, r, d]

    def grouped(x: jax.Array | None) -> jax.Array | None:
        """Return a mask or bias as [b, k, g, l, s], padded."""
        if x is None:
            return None
        x = x.reshape(x.shape[0], *((1, 1) if x.shape[1] == 1 else (k, h // k)), *x.shape[2:])
        ends = ((0, 0 if x.shape[3] == 1 else rest), (0, 0) if x.shape[4] == 1 else blocks.padding)
        return jnp.pad(x, ((0, 0), (0, 0), (0, 0), *ends))

    def heads(x: jax.Array) -> jax.Array:
        """Return keys or values as [b, k, s, d], padded."""
        return jnp.pad(x.transpose(0, 2, 1, 3), ((0, 0), (0, 0), blocks.padding, (0, 0)))

    y, any_seen = _attend(blocks, query, heads(key), heads(value), grouped(mask), grouped(bias))
    if blocks.window is not None and (mask is not None or l > key.shape[1]):
        mean = value.mean(axis=1, dtype=jnp.float32)[None, :, :, None, None].astype(value.dtype)  # of all, seen or not
        y = jnp.where(any_seen, y, mean)
    y = y.transpose(1, 0, 4, 2, 3, 5).reshape(b, blocks.count * blocks.size, h, d)
    return y[:, :l]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend(blocks: Blocks, query: Any, key: Any, value: Any, mask: Any, bias: Any) -> tuple[jax.Array, jax.Array]:
    """Return the means of values, [n, b, k, g, r, d], and whether a query saw any, [n, b, k, g, r, 1]."""
    return _forward(blocks, query, key, value, mask, bias)[0]


def _forward(blocks: Blocks, query: Any, key: Any, value: Any, mask: Any, bias: Any) -> tuple[Any, Any]:
    """Attend, and return what the gradients need too."""

    def body(_: None, each: Any) -> tuple[None, Any]:
        index, query = jax.lax.optimization_barrier(each)  # what is seen, else known beforehand, is not kept either
        scores, _ = _scores(blocks, index, query, key, mask, bias)
        largest = scores.max(axis=-1, keepdims=True)  # [b, k, g, r, 1]
        weights = jnp.exp(scores - largest)
        total = weights.sum(axis=-1, keepdims=True)
        y = _product("bkrs,bksd->bkrd", _rows(weights.astype(value.dtype)), _part(blocks, index, value))
        return None, (y.reshape(query.shape) / total, largest, 1 / total)

    _, (y, largest, share) = jax.lax.scan(body, None, (jnp.arange(blocks.count), query))
    out = y.astype(value.dtype)
    return (out, largest > HIDDEN), (query, key, value, mask, bias, y, largest, share)


def _backward(blocks: Blocks, saved: Any, cotangents: Any) -> tuple[Any, ...]:
    """Return the gradients by queries, keys, values and bias."""
    query, key, value, mask, bias, y, largest, share = saved
    scale = query.shape[-1] ** -0.5
    dy = cotangents[0].astype(jnp.float32)
    inside = (dy * y).sum(axis=-1, keepdims=True)  # [n, b, k, g, r, 1]

    def body(carry: Any, each: Any) -> tuple[Any, jax.Array]:
        dkey, dvalue, dbias = carry
        index, query, dy, inside, largest, share = each
        scores, seen = _scores(blocks, index, query, key, mask, bias)
        weights = jnp.exp(scores - largest) * share
        dweights = _product("bkrd,bksd->bkrs", _rows(dy), _part(blocks, index, value)).reshape(scores.shape)
        dscores = weights * (dweights - inside)
        if seen is not None:  # a query that sees nothing has weights nevertheless
            dscores = jnp.where(seen, dscores, 0)
        if dbias is not None:
            few = [axis for axis, size in enumerate(dbias.shape) if size == 1]
            dbias = _add(dbias, dscores.sum(axis=few, keepdims=True), _start(blocks, index, dbias))
        dscores = _rows(dscores)
        dquery = _product("bkrs,bksd->bkrd", dscores, _part(blocks, index, key)) * scale
        # Features come first, since XLA takes twice the time to turn the scores than to turn the queries.
        start = (0, 0, 0, blocks.corner(index)[1])
        dkey = _add(dkey, _product("bkrd,bkrs->bkds", _rows(query), dscores), start)
        dvalue = _add(dvalue, _product("bkrd,bkrs->bkds", _rows(dy), _rows(weights)), start)
        return (dkey, dvalue, dbias), dquery.reshape(query.shape)

    begin = jnp.zeros((*key.shape[:2], key.shape[3], key.shape[2]), jnp.float32)  # [b, k, d, s]
    carry = (begin, begin, None if bias is None else jnp.zeros(bias.shape, jnp.float32))
    each = (jnp.arange(blocks.count), query, dy, inside, largest, share)
    (dkey, dvalue, dbias), dquery = jax.lax.scan(body, carry, each)
    return (
        dquery.astype(query.dtype),
        (dkey * scale).swapaxes(2, 3).astype(key.dtype),
        dvalue.swapaxes(2, 3).astype(value.dtype),
        None if mask is None else np.zeros(mask.shape, jax.dtypes.float0),
        None if dbias is None else dbias.astype(bias.dtype),
    )


_attend.defvjp(_forward, _backward)


def _scores(blocks: Blocks, index: jax.Array, query: jax.Array, key: jax.Array, mask: Any, bias: Any) -> Any:
    """Return the scores of a block of queries [b, k, g, r, d], [b, k, g, r, s], and where they are seen."""
    scores = _product("bkrd,bksd->bkrs", _rows(query), _part(blocks, index, key))
    scores = scores.reshape(*query.shape[:4], -1) * query.shape[-1] ** -0.5
    if bias is not None:
        scores = scores + _tile(blocks, index, bias)
    seen = blocks.seen(index, None if mask is None else _tile(blocks, index, mask))
    return (scores if seen is None else jnp.where(seen, scores, HIDDEN)), seen


def _part(blocks: Blocks, index: jax.Array, x: jax.Array) -> jax.Array:
    """Return those of the padded keys or values [b, k, s, d] that a block looks at."""
    return jax.lax.dynamic_slice_in_dim(x, blocks.corner(index)[1], blocks.reach, axis=2)


def _tile(blocks: Blocks, index: jax.Array, x: jax.Array) -> jax.Array:
    """Return what a padded mask or bias [b, k, g, l, s] says of a block."""
    rows, columns = (1 if x.shape[axis] == 1 else size for axis, size in ((3, blocks.size), (4, blocks.reach)))
    return jax.lax.dynamic_slice(x, _start(blocks, index, x), (*x.shape[:3], rows, columns))


def _start(blocks: Blocks, index: jax.Array, x: jax.Array) -> tuple[jax.Array | int, ...]:
    """Return where in a padded mask or bias [b, k, g, l, s] a block begins."""
    return 0, 0, 0, *(0 if size == 1 else at for size, at in zip(x.shape[3:], blocks.corner(index), strict=True))


def _add(total: jax.Array, part: jax.Array, start: tuple[jax.Array | int, ...]) -> jax.Array:
    """Return a total to which a part has been added from `start` on."""
    part = part + jax.lax.dynamic_slice(total, start, part.shape)
    return jax.lax.dynamic_update_slice(total, part, start)


def _rows(x: jax.Array) -> jax.Array:
    """Return queries that share keys as rows of one matrix, [b, k, g, r, d] -> [b, k, g r, d]."""
    return x.reshape(*x.shape[:2], -1, x.shape[-1])


def _product(formula: str, one: jax.Array, other: jax.Array) -> jax.Array:
    """Return a product in float32."""
    if one.dtype != other.dtype:
        one, other = one.astype(jnp.float32), other.astype(jnp.float32)
    return jnp.einsum(formula, one, other, preferred_element_type=jnp.float32)
