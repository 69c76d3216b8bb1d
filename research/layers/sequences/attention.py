"""Attention: every query takes a mean of the values, weighted by how well their keys match it."""

from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from research.errors import UsageError
from research.fields import Rate, Size, is_static_zero
from research.kernels.attention import Implementation, attend
from research.layers.dense import Dense
from research.layers.dropout import Dropout
from research.layers.normalization import Normalization
from research.layers.sequences.positions import RotaryBase, rotary


class KeyValues(NamedTuple):
    """Projected keys and values, [b, s, key_value_heads, head width] each."""

    keys: jax.Array
    values: jax.Array


class Attention(nn.Module):
    """Multi-head attention of x [b, l, d] to itself or to a memory [b, s, d']: -> [b, l, d], and its `KeyValues`.

    Fewer `key_value_heads` than `heads` is grouped-query attention (Ainslie et al., 2023), one is multi-query attention
    (Shazeer, 2019). Heads share the width d unless they have a `head_width` of their own. Scores are divided by the
    root of a head's width if `scaled`. `window` lets a token see those at most that many positions away. `qk_norm`
    normalizes each head's queries and keys by their root mean square, with a learned scale (Henry et al., 2020;
    Dehghani et al., 2023).

    `mask` [b, s] is True where a key counts, or [b, l, s] where it counts for a query; a query without any gets a plain
    mean. `bias` [b, h, l, s] is added to the scores; b and h may be 1. `positions` [b, l], or [1, l] for all rows, are
    those of x, 0, 1, ... if not given.

    To decode, pass as `cache` room for the keys and values of s positions: those of x are written at `positions`, and
    the whole is returned. A position past s is not written. A query sees what stands at or before its own position,
    whatever the rest of the cache holds. A memory may likewise be the `KeyValues` of a former call, so as to project it
    once.

    The computation is `attend`, softmax in float32. Dropout of weights, and weights asked for by making `intermediates`
    mutable (sown as `weights` [b, h, l, s], before dropout), take plain products instead, since fused kernels and
    blocks offer neither. With `train=True` and dropout it draws from the `dropout` stream. Source: Vaswani et al.
    (2017, section 3.2).

    Raises:
        UsageError: sizes that do not divide, a mask or bias of the wrong shape, a cache without causality.
    """

    heads: Size = 8
    key_value_heads: Size | None = None
    head_width: Size | None = None
    scaled: bool = True
    causal: bool = False
    window: Size | None = None
    rotary: bool = False
    rotary_base: RotaryBase = 10000.0
    qk_norm: bool = False
    bias: bool = True
    dropout: Rate = 0.0
    implementation: Implementation = "xla"
    dtype: Literal["float32", "bfloat16"] = "float32"
    kernel_init: Initializer = nn.initializers.glorot_uniform()
    output_init: Initializer = nn.initializers.glorot_uniform()

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        memory: jax.Array | KeyValues | None = None,
        *,
        mask: jax.Array | None = None,
        bias: jax.Array | None = None,
        positions: jax.Array | None = None,
        cache: KeyValues | None = None,
        train: bool = False,
    ) -> tuple[jax.Array, KeyValues]:
        b, l, d = x.shape
        if self.head_width is None and d % self.heads:
            raise UsageError(f"heads={self.heads} does not divide width={d}")
        groups = self.heads if self.key_value_heads is None else self.key_value_heads
        if self.heads % groups:
            raise UsageError(f"key_value_heads={groups} does not divide heads={self.heads}")
        if positions is None:
            positions = jnp.arange(l)[None, :]
        width = d // self.heads if self.head_width is None else self.head_width

        def project(source: jax.Array, heads: int, name: str) -> jax.Array:
            dense = Dense(heads * width, self.bias, dtype=self.dtype, kernel_init=self.kernel_init, name=name)
            return dense(source).reshape(*source.shape[:2], heads, width)  # [b, s, heads, width]

        def place(projected: jax.Array, name: str) -> jax.Array:
            if self.qk_norm:
                projected = Normalization("rmsnorm", dtype=self.dtype, name=f"{name}_norm")(projected)
            return rotary(projected, positions, self.rotary_base) if self.rotary and memory is None else projected

        query = place(project(x, self.heads, "query"), "query")  # [b, l, h, width]
        query = query if self.scaled else query * width**0.5  # by which all forms of attention divide
        if isinstance(memory, KeyValues):
            known = memory
        else:
            source = x if memory is None else memory
            known = KeyValues(place(project(source, groups, "key"), "key"), project(source, groups, "value"))
        causal, window, seen = self.causal, self.window, None
        if cache is not None:
            known = self._write(cache, known, positions)
            slots = jnp.arange(known.keys.shape[1])[None, :]
            causal, window, seen = False, None, visible(positions, slots, self.causal, self.window)  # [b, 1, l, s]
        if mask is not None:
            s = known.keys.shape[1]
            _check_shape("mask", mask, *(((b, l, s), "b, l, s") if mask.ndim == 3 else ((b, s), "b, s")))
            mask = mask[:, None] if mask.ndim == 3 else mask[:, None, None]
            seen = mask if seen is None else seen & mask
        if bias is not None:
            _check_shape("bias", bias, (b, self.heads, l, known.keys.shape[1]), "b, h, l, s", ones=2)

        dropping = train and not is_static_zero(self.dropout)
        if dropping or self.is_mutable_collection("intermediates"):
            if causal or window is not None:
                band = visible(positions, positions, causal, window)
                seen = band if seen is None else seen & band
            weights = attention_weights(query, known.keys, seen, bias)  # [b, h, l, s]
            self.sow("intermediates", "weights", weights)
            weights = Dropout(self.dropout, name="dropout")(weights, train).astype(query.dtype)
            y = jnp.einsum("bhls,bshd->blhd", weights, _repeat(known.values, self.heads))
        else:
            y = attend(
                query, *known, seen, bias, causal=causal, window=window, implementation=self.implementation
            )  # [b, l, h, width]
        output = Dense(d, self.bias, dtype=self.dtype, kernel_init=self.output_init, name="output")
        return output(y.reshape(b, l, self.heads * width)), known  # [b, l, d]

    def _write(self, cache: KeyValues, new: KeyValues, positions: jax.Array) -> KeyValues:
        """Return the cache with new keys and values at their positions."""
        if not self.causal:
            raise UsageError("a cache needs causal=True: what is decoded later must not change what came before")
        rows = jnp.arange(len(new.keys))[:, None]
        return KeyValues(*(old.at[rows, positions].set(x.astype(old.dtype)) for old, x in zip(cache, new, strict=True)))


def visible(query: jax.Array, key: jax.Array, causal: bool, window: int | None) -> jax.Array:
    """Return where queries at positions [b, l] may see keys at positions [b, s], as [b, 1, l, s]."""
    distance = query[:, None, :, None] - key[:, None, None, :]
    seen = distance >= 0 if causal else jnp.ones_like(distance, bool)
    return seen if window is None else seen & (jnp.abs(distance) <= window)


def attention_weights(
    query: jax.Array, key: jax.Array, mask: jax.Array | None = None, bias: jax.Array | None = None
) -> jax.Array:
    """Return softmax(query key^T / sqrt(d) + bias) where `mask`, [b, l, h, d] and [b, s, k, d] -> [b, h, l, s].

    Mask and bias are [b, h, l, s], with ones to broadcast; the result is float32. Source: Vaswani et al. (2017, eq. 1).
    """
    b, l, h, d = query.shape
    scores = jnp.einsum("blhd,bshd->bhls", query, _repeat(key, h), preferred_element_type=jnp.float32) * d**-0.5
    if bias is not None:
        scores = scores + bias
    if mask is not None:
        scores = jnp.where(mask, scores, -0.7 * jnp.finfo(scores.dtype).max)
    return jax.nn.softmax(scores, axis=-1)


def _repeat(x: jax.Array, heads: int) -> jax.Array:
    """Return keys or values [b, s, k, d] for every query head, [b, s, heads, d]."""
    return x if x.shape[2] == heads else jnp.repeat(x, heads // x.shape[2], axis=2)


def _check_shape(name: str, x: jax.Array, shape: tuple[int, ...], axes: str, ones: int = 0) -> None:
    """Raise unless x has the shape; the first `ones` axes may be 1."""
    fits = x.ndim == len(shape) and all(
        size == expected or (size == 1 and axis < ones)
        for axis, (size, expected) in enumerate(zip(x.shape, shape, strict=False))
    )
    if not fits:
        raise UsageError(f"{name} must be [{axes}] = {list(shape)}, not {list(x.shape)}")
    if name == "mask" and x.dtype != jnp.bool_:
        raise UsageError(f"mask must be boolean, True where a key counts, not {x.dtype}")
