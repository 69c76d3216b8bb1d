"""BERT: an encoder pretrained on masked words and next sentences (Devlin, Chang, Lee and Toutanova, 2019)."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from research.errors import UsageError
from research.fields import Size
from research.layers.activations import gelu
from research.layers.dense import Dense
from research.layers.dropout import Dropout
from research.layers.normalization import Normalization
from research.layers.partition import Rules
from research.layers.sequences.lengths import SequenceInputs, pool_steps
from research.layers.sequences.positions import consecutive
from research.models.model import Model
from research.models.sizes import variant
from research.models.transformer.fields import TransformerFields, initializers, shared
from research.models.transformer.parts import TokenEmbedding, read
from research.models.transformer.stack import TransformerStack

BertSize = Literal["base", "large"]
SHORTEST = 1e-12
"""Below it a vector is not brought to length one: there is nothing to say of where it points."""


class BertFields(TransformerFields, Model):
    """What BERT has besides the fields of every Transformer."""

    vocabulary: Size = 30522
    """Number of token ids."""
    max_length: Size = 512
    """Longest sequence."""
    segments: Size = 2
    """Number of segment ids: the first sentence and the second."""

    @property
    def reads(self) -> tuple[str, ...]:
        return ("tokens", "lengths?", "segments?")

    @nn.nowrap
    def vocabularies(self) -> dict[str, int]:
        return {"tokens": self.vocabulary}


class Bert(BertFields):
    """BERT without a head: tokens [b, l] -> hidden states [b, l, width], and a pooled one [b, width].

    Inputs are tokens, or a mapping of `tokens` and optionally `lengths` [b] and `segments` [b, l], zero by default. A
    row begins with its class token: the pooled state is a dense layer and tanh over the first hidden one. Embeddings of
    tokens, segments and positions are added, then normalized.
    """

    def setup(self) -> None:
        kernel_init, _, embedding_init = initializers(self)
        whole = {**shared(self), "dropout": 0.0}  # dropout comes after the norm
        self.embedding = TokenEmbedding(**whole, vocabulary=self.vocabulary, max_length=self.max_length)
        self.segment_embedding = nn.Embed(self.segments, self.width, dtype=self.dtype, embedding_init=embedding_init)
        self.embedding_norm = Normalization(self.norm, self.norm_epsilon, self.dtype)
        self.embedding_dropout = Dropout(self.dropout)
        self.encoder = TransformerStack(**shared(self))
        self.pooler = nn.Dense(self.width, dtype=self.dtype, kernel_init=kernel_init)

    def __call__(self, inputs: SequenceInputs, train: bool = False) -> tuple[jax.Array, jax.Array]:
        tokens, mask = read(inputs)
        b, l = tokens.shape
        segments = inputs.get("segments") if isinstance(inputs, Mapping) else None
        if segments is None:
            segments = jnp.zeros((1, l), jnp.int32)
        elif segments.shape != (b, l):
            raise UsageError(f"segments must be [b, l] = {[b, l]}, like tokens, not {list(segments.shape)}")
        elif mask is not None:
            segments = jnp.where(mask, segments, 0)
        x = self.embedding(tokens, consecutive(l)) + self.segment_embedding(segments)  # [b, l, width]
        x = self.embedding_dropout(self.embedding_norm(x), train)
        x, _ = self.encoder(x, mask=mask, train=train)
        return x, jnp.tanh(self.pooler(x[:, 0]))

    def logits(self, x: jax.Array) -> jax.Array:
        """Return the product with every token's vector, [b, l, width] -> [b, l, vocabulary], float32."""
        return self.embedding.logits(x)


class SentenceBert(BertFields):
    """BERT as a sentence's vector, [b, width], float32 (Reimers and Gurevych, 2019).

    Inputs are those of `Bert`, the class token included. The hidden states that count are pooled; the dense layer that
    pools in `Bert` is kept among the parameters, and takes no part.
    """

    pooling: Literal["mean", "class", "max"] = "mean"
    """Mean or maximum over the tokens that count, or the state of the class token."""
    normalize: bool = False
    """Whether vectors have length one, so that their product is the cosine."""

    @nn.compact
    def __call__(self, inputs: SequenceInputs, train: bool = False) -> jax.Array:
        bert = Bert(
            **shared(self),
            vocabulary=self.vocabulary,
            max_length=self.max_length,
            segments=self.segments,
            name="bert",
        )
        x, _ = bert(inputs, train)  # [b, l, width]
        _, mask = read(inputs)
        if self.pooling == "class":
            pooled = x[:, 0]  # [b, width]
        else:
            pooled = pool_steps(x, None if mask is None else mask.sum(axis=1), self.pooling)  # [b, width]
        pooled = pooled.astype(jnp.float32)
        if self.normalize:
            squared = jnp.square(pooled).sum(axis=-1, keepdims=True)
            pooled = pooled * jax.lax.rsqrt(jnp.maximum(squared, SHORTEST**2))
        return pooled


class BertPretraining(BertFields):
    """BERT with its two heads: a dictionary of `masked` [b, l, vocabulary] and `next` [b, 2] logits, float32.

    Inputs are those of `Bert`. The masked-language-model head is dense, gelu and norm, then the transposed embedding
    table and a bias; the next-sentence head is dense, from the pooled state.
    """

    partition: ClassVar[Rules] = (*BertFields.partition, (r"\bmasked_bias$", ("tensor",)))

    def setup(self) -> None:
        kernel_init, _, _ = initializers(self)
        self.bert = Bert(**shared(self), vocabulary=self.vocabulary, max_length=self.max_length, segments=self.segments)
        self.transform = Dense(self.width, dtype=self.dtype, kernel_init=kernel_init)
        self.transform_norm = Normalization(self.norm, self.norm_epsilon, self.dtype)
        self.masked_bias = self.param("masked_bias", nn.initializers.zeros, (self.vocabulary,))
        self.next = nn.Dense(2, dtype=self.dtype, kernel_init=kernel_init)

    def __call__(self, inputs: SequenceInputs, train: bool = False) -> dict[str, jax.Array]:
        x, pooled = self.bert(inputs, train)
        x = self.transform_norm(gelu(self.transform(x)))  # [b, l, width]
        masked = self.bert.logits(x) + self.masked_bias[None, None, :]  # [b, l, vocabulary]
        return {"masked": masked, "next": self.next(pooled).astype(jnp.float32)}


class BertClassifier(BertFields):
    """BERT fine-tuned to a classification: dropout and a dense layer over the pooled state -> logits [b, classes].

    Inputs are those of `Bert`. Its parameters under `bert` are those of `BertPretraining`.
    """

    classes: Size = 2
    """Width of the logits."""

    @nn.compact
    def __call__(self, inputs: SequenceInputs, train: bool = False) -> jax.Array:
        kernel_init, _, _ = initializers(self)
        bert = Bert(
            **shared(self),
            vocabulary=self.vocabulary,
            max_length=self.max_length,
            segments=self.segments,
            name="bert",
        )
        _, pooled = bert(inputs, train)
        pooled = Dropout(self.dropout, name="dropout")(pooled, train)
        logits = nn.Dense(self.classes, dtype=self.dtype, kernel_init=kernel_init, name="logits")
        return logits(pooled).astype(jnp.float32)


SIZES: dict[BertSize, dict[str, int]] = {
    "base": {"layers": 12, "width": 768, "heads": 12, "feed_forward_width": 3072},
    "large": {"layers": 24, "width": 1024, "heads": 16, "feed_forward_width": 4096},
}
PUBLISHED: dict[str, Any] = {
    "positions": "learned",
    "norm_placement": "post",
    "norm_epsilon": 1e-12,
    "feed_forward": "gelu",
    "initialization": "truncated_normal",
    "dropout": 0.1,
    "attention_dropout": 0.1,
}


def bert(size: BertSize = "base", **fields: Any) -> BertPretraining:
    """Return BERT as published, with `fields` exchanged.

    Post-norm, exact gelu, learned positions, 30,522 word pieces. With both heads base has 110,106,428 parameters, large
    336,226,108; without them, 109,482,240 and 335,141,888: the 110 and 340 million of the paper.
    """
    return BertPretraining(**{**PUBLISHED, **variant(SIZES, size), **fields})


def bert_classifier(size: BertSize = "base", classes: int = 2, **fields: Any) -> BertClassifier:
    """Return the classifier that begins with the parameters of `bert(size)`, with `fields` exchanged."""
    return BertClassifier(**{**PUBLISHED, **variant(SIZES, size), "classes": classes, **fields})
