"""The encoder-decoder Transformer."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from research.errors import UsageError
from research.fields import Size
from research.layers.partition import Rules
from research.layers.sequences.lengths import SequenceInputs
from research.layers.sequences.positions import consecutive
from research.models.model import Model
from research.models.sizes import variant
from research.models.transformer.fields import TransformerFields, shared
from research.models.transformer.parts import Cache, TokenEmbedding, head, new_cache, read
from research.models.transformer.stack import TransformerStack


class TransformerSeq2Seq(TransformerFields, Model):
    """The encoder-decoder of Vaswani et al., "Attention is all you need" (2017).

    Called with a mapping of `tokens` [b, s], optionally `lengths` [b] (of the source), and `targets` [b, l], what the
    decoder reads: the target behind its start token. Gives logits [b, l, target vocabulary], float32; those at step i
    are of the token after `targets[:, i]`, and depend on no later target. The output layer has no bias. `start` and
    `step` are what `research.layers.sequences.decoding` needs. Sown into `intermediates`: each block's `output` and
    attention `weights`.
    """

    partition: ClassVar[Rules] = (*TransformerFields.partition, (r"\bhead\.kernel$", ("tensor",)))

    source_vocabulary: Size = 256
    """Number of token ids that are read."""
    target_vocabulary: Size | None = None
    """Number of token ids that are written; None for one vocabulary and one embedding table on both sides."""
    max_length: Size = 512
    """Longest sequence on either side, where positions are learned."""
    tied: bool = True
    """Whether the output layer is the transposed embedding table of the targets (Press and Wolf, 2017)."""
    embedding_scale: bool = True
    """Whether embeddings are multiplied by the root of the width."""
    output_scale: bool = False
    """Whether what the decoder gives is divided by the root of the width before the output layer (T5 1.0)."""

    @property
    def reads(self) -> tuple[str, ...]:
        return ("tokens", "lengths?", "targets")

    @nn.nowrap
    def vocabularies(self) -> dict[str, int]:
        return {"tokens": self.source_vocabulary, "targets": self.target_vocabulary or self.source_vocabulary}

    def setup(self) -> None:
        def embed(vocabulary: int) -> TokenEmbedding:
            return TokenEmbedding(
                **shared(self), vocabulary=vocabulary, max_length=self.max_length, scale=self.embedding_scale
            )

        self.embedding = embed(self.source_vocabulary)
        if self.target_vocabulary is not None:
            self.target_embedding = embed(self.target_vocabulary)
        self.encoder = TransformerStack(**shared(self))
        self.decoder = TransformerStack(**shared(self), causal=True, cross=True)
        if not self.tied:
            self.head = head(self, self.target_vocabulary or self.source_vocabulary)

    def __call__(self, inputs: Mapping[str, jax.Array], train: bool = False) -> jax.Array:
        if not isinstance(inputs, Mapping) or "targets" not in inputs:
            raise UsageError('an encoder-decoder is called with a mapping of "tokens", "targets" and maybe "lengths"')
        memory, mask = self._encode(inputs, train)
        targets, _ = read(inputs["targets"])
        x = self._embed(targets, consecutive(targets.shape[1]), train)  # [b, l, width]
        x, _ = self.decoder(x, memory, memory_mask=mask, train=train)
        return self._logits(x)

    def start(self, inputs: SequenceInputs, capacity: int) -> Cache:
        """Read sources [b, s]; return the cache before the start token, with room for `capacity` target tokens.

        Raises:
            UsageError: positions are learned and there are fewer than `capacity`.
        """
        memory, mask = self._encode(inputs)
        b = len(memory)
        cache = new_cache(self, self.max_length, b, capacity)
        # One token is decoded and forgotten: what stays are the keys and values of the memory, projected once.
        x = self._embed(jnp.zeros((b, 1), jnp.int32), consecutive(1))
        _, layers = self.decoder(x, memory, memory_mask=mask, cache=cache.layers)
        return cache._replace(layers=layers, memory_mask=mask)

    def extend(self, cache: Cache, tokens: jax.Array) -> tuple[Cache, jax.Array]:
        """Return the cache after the next targets [b, l] of each row, and logits [b, l, v]; NaN past its room."""
        positions = cache.next_positions(tokens.shape[1])  # [b, l]
        x = self._embed(tokens, positions)
        x, layers = self.decoder(x, memory_mask=cache.memory_mask, positions=positions, cache=cache.layers)
        return cache.advance(tokens.shape[1], layers), cache.spoil(self._logits(x))

    def step(self, cache: Cache, tokens: jax.Array) -> tuple[Cache, jax.Array]:
        """Return the cache after one target for each row [b], and the logits [b, v] of the next."""
        cache, logits = self.extend(cache, tokens[:, None])
        return cache, logits[:, 0]

    def _encode(self, inputs: SequenceInputs, train: bool = False) -> tuple[jax.Array, jax.Array | None]:
        """Return the encoder's output [b, s, width], and where it counts [b, s]."""
        tokens, mask = read(inputs)
        x = self.embedding(tokens, consecutive(tokens.shape[1]), train)  # [b, s, width]
        x, _ = self.encoder(x, mask=mask, train=train)
        return x, mask

    def _embed(self, targets: jax.Array, positions: jax.Array | np.ndarray, train: bool = False) -> jax.Array:
        """Embed what the decoder reads, [b, l] -> [b, l, width]."""
        return self._target_embedding()(targets, positions, train)

    def _logits(self, x: jax.Array) -> jax.Array:
        """Return logits, [b, l, width] -> [b, l, v], float32."""
        x = x * self.width**-0.5 if self.output_scale else x
        return self._target_embedding().logits(x) if self.tied else self.head(x).astype(jnp.float32)

    def _target_embedding(self) -> TokenEmbedding:
        """Return the embedding of the targets, which may be that of the sources."""
        return self.embedding if self.target_vocabulary is None else self.target_embedding


SIZES: dict[str, dict[str, Any]] = {
    "base": {"width": 512, "heads": 8, "feed_forward_width": 2048, "dropout": 0.1},
    "big": {"width": 1024, "heads": 16, "feed_forward_width": 4096, "dropout": 0.3},
}


def vaswani(size: Literal["base", "big"] = "base", **fields: Any) -> TransformerSeq2Seq:
    """Return the encoder-decoder of Vaswani et al. (2017, table 3), with `fields` exchanged.

    Six layers on each side, post-norm, relu, sinusoidal positions, one vocabulary of 37,000 byte pairs whose table
    serves source, target and output layer. With biases in the dense layers that is 63,082,496 parameters, 65 million in
    the paper, or 214,245,376, there 213 million.
    """
    published = {
        "source_vocabulary": 37000,
        "layers": 6,
        "feed_forward": "relu",
        "norm_placement": "post",
        **variant(SIZES, size),
    }
    return TransformerSeq2Seq(**{**published, **fields})
