"""What the Transformer models have at their ends: embeddings, output layers, and the cache of decoding."""

from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from research.fields import Size
from research.layers.dense import Dense
from research.layers.dropout import Dropout
from research.layers.sequences.lengths import SequenceInputs, read_sequence, valid_steps
from research.layers.sequences.positions import LearnedPositions, check_length, sinusoidal
from research.models.transformer.fields import TransformerFields, initializers
from research.models.transformer.stack import BlockCache, empty_cache


def read(inputs: SequenceInputs, name: Literal["tokens", "features"] = "tokens") -> tuple[jax.Array, jax.Array | None]:
    """Return the sequence, zero past each row's length, and where it counts [b, l], or None where all of it does.

    So whatever stands in the padding, be it an impossible token or a NaN, changes nothing. Errors: `read_sequence`.
    """
    x, lengths = read_sequence(inputs, name)
    if lengths is None:
        return x, None
    mask = valid_steps(lengths, *x.shape[:2])  # [b, l]
    return jnp.where(mask.reshape(mask.shape + (1,) * (x.ndim - 2)), x, 0), mask


class TokenEmbedding(TransformerFields):
    """A vector for each token with its position, [b, l] ids and positions -> [b, l, width], then dropout.

    Without a vocabulary features [b, l, d] go through a dense layer instead. A token id outside [0, vocabulary) gives
    NaN.
    """

    vocabulary: Size | None = 256
    max_length: Size = 512
    scale: bool = False

    def setup(self) -> None:
        kernel_init, _, embedding_init = initializers(self)
        if self.vocabulary is None:
            self.project = Dense(self.width, dtype=self.dtype, kernel_init=kernel_init)
        else:
            self.tokens = nn.Embed(self.vocabulary, self.width, dtype=self.dtype, embedding_init=embedding_init)
        if self.positions == "learned":
            self.learned = LearnedPositions(self.max_length, self.width, embedding_init)
        self.drop = Dropout(self.dropout)

    def __call__(self, x: jax.Array, positions: jax.Array | np.ndarray, train: bool = False) -> jax.Array:
        if self.vocabulary is None:
            x = self.project(x)  # [b, l, d]
        else:
            x = self.tokens(jnp.where(x < 0, self.vocabulary, x))  # [b, l, d]; a negative id would count from the end
        x = x * self.width**0.5 if self.scale else x
        return self.drop(self.place(x, positions), train)

    def place(self, x: jax.Array, positions: jax.Array | np.ndarray) -> jax.Array:
        """Add what is added for positions [b, l] to x [b, l, d]."""
        match self.positions:
            case "sinusoidal":
                return x + sinusoidal(positions, self.width).astype(x.dtype)
            case "learned":
                return x + self.learned(positions).astype(x.dtype)
            case _:
                return x

    def logits(self, x: jax.Array) -> jax.Array:
        """Return the product with every token's vector, [b, l, width] -> [b, l, vocabulary], float32."""
        return self.tokens.attend(x).astype(jnp.float32)


def head(fields: TransformerFields, vocabulary: int) -> Dense:
    """Return an output layer that is not tied; like a tied one it has no bias."""
    kernel_init, _, _ = initializers(fields)
    return Dense(vocabulary, use_bias=False, dtype=fields.dtype, kernel_init=kernel_init)


class Cache(NamedTuple):
    """What decoding carries along; b is the first axis of every array, so rows are picked by `jax.tree.map`."""

    positions: jax.Array
    """How many tokens each row has read, [b]."""
    layers: BlockCache
    """Keys and values of every layer, with room for `capacity` positions."""
    memory_mask: jax.Array | None = None
    """Where the encoder's tokens count, [b, s]."""

    def next_positions(self, length: int) -> jax.Array:
        """Return the positions of the next `length` tokens of each row, [b, length]."""
        return self.positions[:, None] + jnp.arange(length)[None, :]

    def advance(self, length: int, layers: BlockCache) -> "Cache":
        """Return the cache after `length` more tokens."""
        return self._replace(positions=self.positions + length, layers=layers)

    def spoil(self, logits: jax.Array) -> jax.Array:
        """Return logits [b, l, v] of the next l tokens, NaN for those without room, lest they be wrong in silence."""
        room = self.next_positions(logits.shape[1]) < self.layers.own.keys.shape[2]  # [b, l]
        return jnp.where(room[:, :, None], logits, jnp.nan)


def new_cache(fields: TransformerFields, max_length: int, batch_size: int, capacity: int) -> Cache:
    """Return the cache before the first token, with room for `capacity` tokens a row.

    Raises:
        UsageError: positions are learned and there are fewer than `capacity`.
    """
    if fields.positions == "learned":
        check_length(capacity, max_length)
    return Cache(jnp.zeros(batch_size, jnp.int32), empty_cache(fields, batch_size, capacity))
