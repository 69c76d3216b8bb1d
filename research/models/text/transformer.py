"""Transformers over one sequence: classifier and language model."""

from collections.abc import Mapping
from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from research.errors import UsageError
from research.fields import Size
from research.layers.partition import Rules
from research.layers.sequences.lengths import SequenceInputs, pool_steps
from research.layers.sequences.positions import check_length, consecutive, restarting
from research.models.model import Model
from research.models.transformer.fields import TransformerFields, shared
from research.models.transformer.parts import Cache, TokenEmbedding, head, new_cache, read
from research.models.transformer.stack import TransformerStack


class TransformerClassifier(TransformerFields, Model):
    """An encoder, pooled over the sequence, then logits [b, classes], float32; for regression they are the estimates.

    Called with tokens [b, l] or, without a vocabulary, features [b, l, d]: the array itself or a mapping with `tokens`
    or `features` and optionally `lengths` [b]. Sown into `intermediates`: each block's `output` and attention
    `weights`, under the block's name, and `pooled`.
    """

    vocabulary: Size | None = 256
    """Number of token ids; None where the inputs are features."""
    classes: Size = 10
    """Width of the logits; for regression, how many numbers to estimate."""
    max_length: Size = 512
    """Longest sequence, where positions are learned."""
    pooling: Literal["mean", "class"] = "mean"
    """Mean over the tokens that count, or a learned class token put first (Devlin et al., 2019)."""
    embedding_scale: bool = False
    """Whether embeddings are multiplied by the root of the width (Vaswani et al., 2017)."""

    @property
    def reads(self) -> tuple[str, ...]:
        return ("features" if self.vocabulary is None else "tokens", "lengths?")

    @nn.nowrap
    def vocabularies(self) -> dict[str, int]:
        return {} if self.vocabulary is None else {"tokens": self.vocabulary}

    @nn.compact
    def __call__(self, inputs: SequenceInputs, train: bool = False) -> jax.Array:
        x, mask = read(inputs, "features" if self.vocabulary is None else "tokens")
        b, l = x.shape[:2]
        first = int(self.pooling == "class")  # the class token stands at position 0, the others after it
        if self.positions == "learned":
            check_length(l, self.max_length)
        embedding = TokenEmbedding(
            **shared(self),
            vocabulary=self.vocabulary,
            max_length=self.max_length + first,
            scale=self.embedding_scale,
            name="embedding",
        )
        x = embedding(x, consecutive(l, first), train)  # [b, l, width]
        if self.pooling == "class":
            token = self.param("class", nn.initializers.normal(0.02), (self.width,)).astype(x.dtype)
            token = embedding.place(token[None, None, :], consecutive(1))
            x = jnp.concatenate([jnp.broadcast_to(token, (b, 1, self.width)), x], axis=1)  # [b, 1 + l, width]
            mask = None if mask is None else jnp.pad(mask, ((0, 0), (1, 0)), constant_values=True)
        x, _ = TransformerStack(**shared(self), name="encoder")(x, mask=mask, train=train)
        if self.pooling == "class":
            pooled = x[:, 0]  # [b, width]
        else:
            pooled = pool_steps(x, None if mask is None else mask.sum(axis=1), "mean")  # [b, width]
        self.sow("intermediates", "pooled", pooled)
        return nn.Dense(self.classes, dtype=self.dtype, name="logits")(pooled).astype(jnp.float32)


class TransformerLanguageModel(TransformerFields, Model):
    """Predict each token from those before it: tokens [b, l] -> logits [b, l, vocabulary], float32.

    Called with the tokens, or a mapping with `tokens` and optionally `lengths` [b] and `documents` [b, l]; logits at a
    position are those of the token after it. Padding at the end needs no mask: causality hides it from all that counts.
    Where neighbouring steps are of different documents, each is read by itself, from position 0 on: attention sees its
    own alone (Krell et al., "Efficient sequence packing without cross-contamination", 2021). The output layer has
    no bias. `start`, `extend` and `step` decode with a cache; `step` is what `research.layers.sequences.decoding` and
    `generate` take. Sown into `intermediates`: each block's `output` and attention `weights`, under the block's name.
    """

    partition: ClassVar[Rules] = (*TransformerFields.partition, (r"\bhead\.kernel$", ("tensor",)))

    vocabulary: Size = 256
    """Number of token ids."""
    max_length: Size = 512
    """Longest sequence, where positions are learned."""
    tied: bool = True
    """Whether the output layer is the transposed embedding table (Press and Wolf, 2017)."""
    embedding_scale: bool = False
    """Whether embeddings are multiplied by the root of the width (Vaswani et al., 2017)."""

    @property
    def reads(self) -> tuple[str, ...]:
        return ("tokens", "lengths?", "documents?")

    @nn.nowrap
    def vocabularies(self) -> dict[str, int]:
        return {"tokens": self.vocabulary}

    def setup(self) -> None:
        self.embedding = TokenEmbedding(
            **shared(self), vocabulary=self.vocabulary, max_length=self.max_length, scale=self.embedding_scale
        )
        self.decoder = TransformerStack(**shared(self), causal=True)
        if not self.tied:
            self.head = head(self, self.vocabulary)

    def __call__(self, inputs: SequenceInputs, train: bool = False) -> jax.Array:
        tokens, _ = read(inputs)
        documents = inputs.get("documents") if isinstance(inputs, Mapping) else None
        if documents is None:
            x = self.embedding(tokens, consecutive(tokens.shape[1]), train)  # [b, l, width]
            x, _ = self.decoder(x, train=train)
        else:
            positions, same = restarting(documents), documents[:, :, None] == documents[:, None, :]  # [b, l, l]
            x = self.embedding(tokens, positions, train)  # [b, l, width]
            x, _ = self.decoder(x, mask=same, positions=positions, train=train)
        return self._logits(x)

    def start(self, inputs: SequenceInputs, capacity: int) -> tuple[Cache, jax.Array]:
        """Read prompts [b, l]; return the cache, with room for `capacity` tokens, and what may follow, [b, vocabulary].

        Raises:
            UsageError: a prompt is longer than the capacity, or the capacity than learned positions.
        """
        tokens, mask = read(inputs)
        b, l = tokens.shape
        if l > capacity:
            raise UsageError(f"prompts of {l} tokens do not fit a cache with a capacity of {capacity}")
        cache, logits = self.extend(new_cache(self, self.max_length, b, capacity), tokens)
        if mask is None:
            return cache, logits[:, -1]
        # What was kept for padding stands after the row's end: nothing sees it before it is written over.
        lengths = mask.sum(axis=1, dtype=jnp.int32)
        last = jnp.take_along_axis(logits, jnp.maximum(lengths - 1, 0)[:, None, None], axis=1)[:, 0]
        return cache._replace(positions=lengths), last

    def extend(self, cache: Cache, tokens: jax.Array) -> tuple[Cache, jax.Array]:
        """Return the cache after the next tokens [b, l] of each row, and logits [b, l, v]; NaN past its room."""
        positions = cache.next_positions(tokens.shape[1])  # [b, l]
        x, layers = self.decoder(self.embedding(tokens, positions), positions=positions, cache=cache.layers)
        return cache.advance(tokens.shape[1], layers), cache.spoil(self._logits(x))

    def step(self, cache: Cache, tokens: jax.Array) -> tuple[Cache, jax.Array]:
        """Return the cache after one token for each row [b], and the logits [b, vocabulary] of the next."""
        cache, logits = self.extend(cache, tokens[:, None])
        return cache, logits[:, 0]

    def _logits(self, x: jax.Array) -> jax.Array:
        """Return logits, [b, l, width] -> [b, l, vocabulary], float32."""
        return self.embedding.logits(x) if self.tied else self.head(x).astype(jnp.float32)
