"""The Transformer block, and the stack of them that every model of the family is built on."""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from research.errors import UsageError
from research.fields import Rate, is_static_zero
from research.layers.dropout import Dropout
from research.layers.normalization import Normalization
from research.layers.remat import remat
from research.layers.sequences.attention import Attention, KeyValues
from research.layers.sequences.feed_forward import FeedForward
from research.layers.sequences.positions import RelativePositions, alibi
from research.layers.stochastic_depth import StochasticDepth, growing
from research.models.transformer.fields import TransformerFields, initializers, shared


class BlockCache(NamedTuple):
    """What one block keeps while decoding; in a stack's cache every array has an axis of layers after b."""

    own: KeyValues
    memory: KeyValues | None = None


def empty_cache(fields: TransformerFields, batch_size: int, capacity: int) -> BlockCache:
    """Return room for the keys and values of `capacity` positions, [b, layers, capacity, k, head width] each."""
    groups = fields.heads if fields.key_value_heads is None else fields.key_value_heads
    width = fields.width // fields.heads if fields.head_width is None else fields.head_width
    room = jnp.zeros((batch_size, fields.layers, capacity, groups, width), fields.dtype)
    return BlockCache(KeyValues(room, room))


class TransformerBlock(TransformerFields):
    """Self-attention, attention to a memory if `cross`, feed-forward; each with dropout, residual and norm.

    Maps x [b, l, d] and the memory [b, s, d] to [b, l, d], and returns the cache it was given, brought up to date. Sows
    its output into `intermediates` as `output`. Arguments are those of `Attention`, and the share of this block's
    branches that is left out, None for none. Sources: Vaswani et al. (2017, section 3.1), post-norm; Radford et al.
    (2019) and Xiong et al. (2020), pre-norm.
    """

    causal: bool = False
    cross: bool = False

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        memory: jax.Array | None = None,
        *,
        mask: jax.Array | None = None,
        memory_mask: jax.Array | None = None,
        bias: jax.Array | None = None,
        positions: jax.Array | None = None,
        cache: BlockCache | None = None,
        rate: Rate | None = None,
        train: bool = False,
    ) -> tuple[jax.Array, BlockCache | None]:
        b, l, d = x.shape
        kernel_init, output_init, _ = initializers(self)
        dense: dict[str, Any] = {
            "bias": self.bias,
            "dtype": self.dtype,
            "kernel_init": kernel_init,
            "output_init": output_init,
        }
        heads: dict[str, Any] = {
            "heads": self.heads,
            "key_value_heads": self.key_value_heads,
            "head_width": self.head_width,
            "scaled": self.attention_scale,
            "qk_norm": self.qk_norm,
            "dropout": self.attention_dropout,
            "implementation": self.attention_implementation,
        }
        attention = Attention(
            **heads,
            **dense,
            causal=self.causal,
            window=self.window,
            rotary=self.positions == "rotary",
            rotary_base=self.rotary_base,
            name="attention",
        )

        def enter(name: str, x: jax.Array) -> jax.Array:
            return self._norm(name)(x) if self.norm_placement == "pre" else x

        def leave(name: str, x: jax.Array, y: jax.Array) -> jax.Array:
            y = Dropout(self.dropout, name=f"{name}_dropout")(y, train)
            if rate is not None:
                y = StochasticDepth(rate, name=f"{name}_stochastic_depth")(y, train)
            y = x + y if self.residual else y
            return self._norm(name)(y) if self.norm_placement == "post" else y

        own = None if cache is None else cache.own
        y, own = attention(
            enter("attention", x), mask=mask, bias=bias, positions=positions, cache=own, train=train
        )  # [b, l, d]
        x = leave("attention", x, y)
        seen = None
        if self.cross:
            source = memory if cache is None or cache.memory is None else cache.memory
            attend = Attention(**heads, **dense, name="cross_attention")
            y, seen = attend(enter("cross_attention", x), source, mask=memory_mask, train=train)  # [b, l, d]
            x = leave("cross_attention", x, y)
        width = 4 * d if self.feed_forward_width is None else self.feed_forward_width
        feed_forward = FeedForward(
            width, self.feed_forward, dropout=self.feed_forward_dropout, **dense, name="feed_forward"
        )
        x = leave("feed_forward", x, feed_forward(enter("feed_forward", x), train))
        self.sow("intermediates", "output", x)
        return x, None if cache is None else BlockCache(own, seen)

    def _norm(self, name: str) -> Normalization:
        """Return the normalization that goes with a part of the block."""
        return Normalization(self.norm, self.norm_epsilon, self.dtype, name=f"{name}_norm")


class TransformerStack(TransformerFields):
    """Blocks one after another, at the end a norm where they are pre-norm, and dropout: [b, l, d] -> [b, l, d].

    Blocks are named `layer_0`, `layer_1`, ...; with `scan` there is one, `layers`, whose parameters and intermediates
    have a leading axis of layers. A cache has that axis after b, so that rows can be picked from all of its arrays
    alike. Arguments are those of `Attention`; relative and ALiBi scores are computed here, once for all layers.
    """

    causal: bool = False
    cross: bool = False

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        memory: jax.Array | None = None,
        *,
        mask: jax.Array | None = None,
        memory_mask: jax.Array | None = None,
        positions: jax.Array | None = None,
        cache: BlockCache | None = None,
        train: bool = False,
    ) -> tuple[jax.Array, Any]:  # the cache, or None without one
        b, l, d = x.shape
        if self.cross and memory is None and (cache is None or cache.memory is None):
            raise UsageError("a stack with cross=True needs a memory to attend to")
        positions = jnp.arange(l)[None, :] if positions is None else positions
        keys = positions if cache is None else jnp.arange(cache.own.keys.shape[2])[None, :]
        bias = self._bias(positions, keys)

        # None where it is off, not 0.0: remat and scan would make an argument of it.
        rates = None if is_static_zero(self.stochastic_depth) else growing(self.stochastic_depth, self.layers)

        def run(block: TransformerBlock, x: jax.Array, cache: BlockCache | None, rate: Rate | None) -> Any:
            return block(
                x,
                memory,
                mask=mask,
                memory_mask=memory_mask,
                bias=bias,
                positions=positions,
                cache=cache,
                rate=rate,
                train=train,
            )

        # Inside a loop nothing can be shared with the forward pass, so nothing need prevent it.
        run = remat(run, self.remat, prevent_cse=not self.scan)
        fields = {**shared(self), "causal": self.causal, "cross": self.cross}
        if self.scan:
            repeat = nn.scan(
                run,
                variable_axes={"params": 0, "intermediates": 0},
                split_rngs={"params": True, "dropout": True},
                in_axes=(1, 0),
                out_axes=1,
                length=self.layers,
            )
            stacked: Any = None if rates is None else jnp.stack(rates)
            x, kept = repeat(TransformerBlock(**fields, name="layers"), x, cache, stacked)
        else:
            each = []
            for layer in range(self.layers):
                here = jax.tree.map(lambda leaf, layer=layer: leaf[:, layer], cache)
                rate = None if rates is None else rates[layer]
                x, last = run(TransformerBlock(**fields, name=f"layer_{layer}"), x, here, rate)
                each.append(last)
            kept = jax.tree.map(lambda *leaves: jnp.stack(leaves, axis=1), *each)
        if self.norm_placement == "pre":
            x = Normalization(self.norm, self.norm_epsilon, self.dtype, name="norm")(x)
        return Dropout(self.final_dropout, name="final_dropout")(x, train), kept

    def _bias(self, query: jax.Array, key: jax.Array) -> jax.Array | None:
        """Return the scores that depend on positions alone, [b, h, l, s], or None."""
        match self.positions:
            case "relative":
                _, _, embedding_init = initializers(self)
                relative = RelativePositions(
                    self.heads, not self.causal, embedding_init=embedding_init, name="relative"
                )
                return relative(query, key)
            case "alibi":
                return alibi(self.heads, query, key)
            case _:
                return None
