"""Attention of a decoder to what an encoder gave, as recurrent models use it."""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from research.errors import UsageError
from research.fields import Size

Scoring = Literal["additive", "dot", "general", "concat"]


class Alignment(nn.Module):
    """Weigh encoder outputs by how they fit a decoder state s: -> (context [b, m], weights [b, l]).

    The score of an encoder output m is, by name:

        additive   v · tanh(W s + U m)     Bahdanau, Cho and Bengio (2015), appendix A.1.2
        dot        s · m                   Luong, Pham and Manning (2015), equation 8, as are the two below
        general    s · (W m)
        concat     v · tanh(W [s; m])

    Additive and concat are one function of their parameters: concat's matrix is kept as its two blocks, and starts as
    one matrix of that width would. Weights are the softmax of the scores over the steps where `mask` is True, in
    float32; where all of a row is masked they are 0, and so is the context. What stands under the mask, a NaN too,
    changes nothing.

    `state` is [b, q], or [b, t, q] for several steps at once, which gives [b, t, m] and [b, t, l]. `memory` is
    [b, l, m], `mask` [b, l], True where a step counts; None counts all. `keys`, what the method `keys` makes of the
    memory, spares computing it again at every step of a loop.

    Raises:
        UsageError: a mask of another shape, or widths that do not fit a product; names the sizes.
    """

    scoring: Scoring = "additive"
    """How a state and an encoder output are compared."""
    features: Size = 128
    """Width of the hidden layer of additive and concat; for general, that of the decoder state."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the computation but for the softmax; parameters are float32."""

    def setup(self) -> None:
        blocks = 0.5 if self.scoring == "concat" else 1.0
        start = nn.initializers.variance_scaling(blocks, "fan_in", "truncated_normal")
        if self.scoring != "dot":
            self.key_layer = nn.Dense(self.features, use_bias=False, kernel_init=start, dtype=self.dtype)
        if self.scoring in ("additive", "concat"):
            self.query_layer = nn.Dense(self.features, use_bias=False, kernel_init=start, dtype=self.dtype)
            self.score_layer = nn.Dense(1, use_bias=False, dtype=self.dtype)

    def keys(self, memory: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Return what the scores need of the memory, which no state enters: [b, l, m] -> [b, l, k]."""
        memory = _masked(memory, mask).astype(self.dtype)
        return memory if self.scoring == "dot" else self.key_layer(memory)

    def __call__(
        self, state: jax.Array, memory: jax.Array, mask: jax.Array | None = None, keys: jax.Array | None = None
    ) -> tuple[jax.Array, jax.Array]:
        b, l, m = memory.shape
        states = state[:, None] if state.ndim == 2 else state  # [b, t, q]
        memory = _masked(memory, mask).astype(self.dtype)
        keys = self.keys(memory) if keys is None else keys  # [b, l, k]
        scores = self._scores(states.astype(self.dtype), keys).astype(jnp.float32)  # [b, t, l]
        if mask is not None:
            scores = jnp.where(mask[:, None], scores, jnp.finfo(jnp.float32).min)
        weights = jax.nn.softmax(scores, axis=-1)
        if mask is not None:
            weights = jnp.where(mask[:, None], weights, 0)
        context = jnp.einsum("btl,blm->btm", weights.astype(self.dtype), memory)  # [b, t, m]
        return (context[:, 0], weights[:, 0]) if state.ndim == 2 else (context, weights)

    def _scores(self, states: jax.Array, keys: jax.Array) -> jax.Array:
        """Compare every state with every key: [b, t, q], [b, l, k] -> [b, t, l]."""
        if self.scoring in ("additive", "concat"):
            hidden = jnp.tanh(self.query_layer(states)[:, :, None] + keys[:, None])  # [b, t, l, k]
            return self.score_layer(hidden)[..., 0]
        if states.shape[-1] != keys.shape[-1]:
            remedy = "set features to the state's width" if self.scoring == "general" else "use general"
            widths = f"of width {states.shape[-1]} with {keys.shape[-1]}"
            raise UsageError(f"{self.scoring} attention multiplies a state {widths}: {remedy}")
        return jnp.einsum("btk,blk->btl", states, keys)


def _masked(memory: jax.Array, mask: jax.Array | None) -> jax.Array:
    """Return the memory with zeros under the mask, so that 0 times a NaN does not come in."""
    if mask is None:
        return memory
    if mask.shape != memory.shape[:2]:
        raise UsageError(f"the mask must be {list(memory.shape[:2])}, as the memory is, not {list(mask.shape)}")
    return jnp.where(mask[..., None], memory, 0)
