"""Recurrent networks: a classifier (or regressor) of whole sequences, and a language model."""

from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from research.errors import UsageError
from research.fields import Rate, Size
from research.layers.dense import Dense
from research.layers.dropout import Dropout
from research.layers.partition import Rules
from research.layers.sequences.cells import Carry, Cell, Nonlinearity
from research.layers.sequences.lengths import SequenceInputs, SequencePooling, pool_steps, read_sequence
from research.layers.sequences.recurrence import StackedRecurrence
from research.models.model import Model


class RecurrentFields(Model):
    """What all recurrent models share; every model of the family has these fields, with these names.

    Over the mesh axis "tensor" vocabularies alone are divided: the gates of a cell lie side by side in its kernels, and
    a part of the kernels would not hold all gates of the same units.
    """

    partition: ClassVar[Rules] = ((r"embed\.embedding$", (("tensor", "fsdp"), None)),)

    hidden: Size = 128
    """Width of the hidden state of each layer and direction."""
    layers: Size = 1
    """Number of recurrent layers."""
    cell: Cell = "lstm"
    """Elman network, LSTM or GRU."""
    dropout: Rate = 0.0
    """Share of the non-recurrent connections that is dropped in training."""
    residual: bool = False
    """Whether each layer after the first adds its input to its output."""
    nonlinearity: Nonlinearity = "tanh"
    """Of the Elman network; the other cells have their own."""
    forget_bias: float = 1.0
    """Where the bias of the LSTM's forget gate starts."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the computation; parameters and carry are float32."""

    @nn.nowrap  # makes a submodule, which linen allows no other method
    def stack(self, bidirectional: bool = False, name: str | None = None) -> StackedRecurrence:
        """Return recurrent layers with these fields."""
        return StackedRecurrence(
            self.hidden,
            self.layers,
            self.cell,
            bidirectional,
            self.dropout,
            self.residual,
            self.nonlinearity,
            self.forget_bias,
            self.dtype,
            name=name,
        )


class RecurrentClassifier(RecurrentFields):
    """Recurrent layers over a sequence, pooled over its valid steps, then logits [b, classes], float32.

    Called with features [b, l, d] or, where there is a vocabulary, tokens [b, l]: the array itself or a mapping with
    `features` or `tokens` and optionally `lengths` [b]. For regression the logits are the estimates. Dropout, in
    training from the `dropout` stream, acts on the embedding, between layers and before the logits, never from step to
    step (Zaremba, Sutskever and Vinyals, "Recurrent neural network regularization", 2014). Cells and their sources:
    `research.layers.sequences.cells`. Sown into `intermediates`: `outputs` [b, l, h or 2 h] and `pooled` [b, h or 2 h].
    """

    classes: Size = 10
    """Width of the logits; for regression, how many numbers to estimate."""
    vocabulary: Size | None = None
    """Number of token ids; None where the inputs are features."""
    embedding: Size = 64
    """Width of the token embedding; unused where the inputs are features."""
    bidirectional: bool = False
    """Whether each layer also runs backwards."""
    pooling: SequencePooling = "last"
    """How steps become one vector; last is where each direction ends: the backward one, at the first step."""

    @property
    def reads(self) -> tuple[str, ...]:
        return ("features" if self.vocabulary is None else "tokens", "lengths?")

    @nn.nowrap
    def vocabularies(self) -> dict[str, int]:
        return {} if self.vocabulary is None else {"tokens": self.vocabulary}

    @nn.compact
    def __call__(self, inputs: SequenceInputs, train: bool = False) -> jax.Array:
        x, lengths = read_sequence(inputs, "features" if self.vocabulary is None else "tokens")
        if self.vocabulary is not None:
            x = nn.Embed(self.vocabulary, self.embedding, dtype=self.dtype, name="embed")(x)  # [b, l, embedding]
            x = Dropout(self.dropout, name="embed_dropout")(x, train)
        stack = self.stack(self.bidirectional, name="recurrence")
        outputs, _ = stack(x, lengths, train=train)  # [b, l, h or 2 h]
        self.sow("intermediates", "outputs", outputs)
        if self.pooling == "last" and self.bidirectional:
            ends = pool_steps(outputs[..., : self.hidden], lengths, "last"), outputs[:, 0, self.hidden :]
            pooled = jnp.concatenate(ends, axis=-1)
        else:
            pooled = pool_steps(outputs, lengths, self.pooling)  # [b, h or 2 h]
        self.sow("intermediates", "pooled", pooled)
        pooled = Dropout(self.dropout, name="pooled_dropout")(pooled, train)
        return nn.Dense(self.classes, dtype=self.dtype, name="logits")(pooled).astype(jnp.float32)  # [b, classes]


class RecurrentLanguageModel(RecurrentFields):
    """Predict each token from those before it: tokens [b, l] -> logits [b, l, vocabulary], float32.

    Called with the tokens, or a mapping with `tokens` and optionally `lengths` [b]; logits at a step are those of the
    token after it, and depend on nothing later. Dropout as in Zaremba, Sutskever and Vinyals (2014): embedding, between
    layers, before the logits. The family of Mikolov et al., "Recurrent neural network based language model" (2010).
    `stream` continues from a carry; `start` and `step` are what `research.layers.sequences.decoding` needs.

    Raises:
        UsageError: the embedding is tied and its width is not `hidden`.
    """

    partition: ClassVar[Rules] = (*RecurrentFields.partition, (r"\bhead\.kernel$", ("tensor",)))

    vocabulary: Size = 256
    """Number of token ids, and width of the logits."""
    embedding: Size = 128
    """Width of the token embedding."""
    tied: bool = False
    """Whether the logits are products with the input embedding (Press and Wolf, 2017); needs embedding = hidden."""

    @property
    def reads(self) -> tuple[str, ...]:
        return ("tokens", "lengths?")

    @nn.nowrap
    def vocabularies(self) -> dict[str, int]:
        return {"tokens": self.vocabulary}

    def setup(self) -> None:
        if self.tied and self.embedding != self.hidden:
            raise UsageError(
                f"a tied embedding is as wide as the hidden state: embedding is {self.embedding}, hidden {self.hidden}"
            )
        self.embed = nn.Embed(self.vocabulary, self.embedding, dtype=self.dtype)
        self.recurrence = self.stack()
        self.embed_dropout, self.output_dropout = Dropout(self.dropout), Dropout(self.dropout)
        self.bias = self.param("bias", nn.initializers.zeros, (self.vocabulary,), jnp.float32)
        if not self.tied:
            self.head = Dense(self.vocabulary, use_bias=False, dtype=self.dtype)

    def __call__(self, inputs: SequenceInputs, train: bool = False) -> jax.Array:
        tokens, lengths = read_sequence(inputs, "tokens")
        logits, _ = self._run(tokens, lengths, None, train)
        return logits

    def start(self, inputs: SequenceInputs, capacity: int) -> tuple[tuple[tuple[Carry, ...], ...], jax.Array]:
        """Read texts [b, l]; return the carry and the logits [b, vocabulary] of what may follow each.

        A carry has room for any number of tokens, so `capacity` changes nothing.
        """
        tokens, lengths = read_sequence(inputs, "tokens")
        logits, carry = self._run(tokens, lengths, None, False)
        if lengths is None:
            return carry, logits[:, -1]
        last = jnp.maximum(lengths - 1, 0)[:, None, None]
        return carry, jnp.take_along_axis(logits, last, axis=1)[:, 0]

    def stream(self, tokens: jax.Array, carry: tuple[tuple[Carry, ...], ...]) -> tuple[jax.Array, tuple]:
        """Return the logits [b, l, vocabulary] of the next tokens [b, l] of a text, and the carry after them."""
        return self._run(tokens, None, carry, False)

    def step(self, carry: tuple[tuple[Carry, ...], ...], tokens: jax.Array) -> tuple[tuple, jax.Array]:
        """Return the carry after one token for each text [b], and the logits [b, vocabulary] of the next."""
        logits, carry = self.stream(tokens[:, None], carry)
        return carry, logits[:, 0]

    def initial_carry(self, b: int) -> tuple[tuple[Carry, ...], ...]:
        """Return the carry before the first token of `b` texts."""
        return StackedRecurrence(self.hidden, self.layers, self.cell, parent=None).initial_carry(b)

    def _run(self, tokens: jax.Array, lengths: jax.Array | None, carry: tuple | None, train: bool) -> tuple:
        """Return logits [b, l, vocabulary] and the carry at the end."""
        x = self.embed_dropout(self.embed(tokens), train)  # [b, l, embedding]
        outputs, carry = self.recurrence(x, lengths, carry, train)  # [b, l, h]
        self.sow("intermediates", "outputs", outputs)
        outputs = self.output_dropout(outputs, train)
        logits = self.embed.attend(outputs) if self.tied else self.head(outputs)  # [b, l, vocabulary]
        return logits.astype(jnp.float32) + self.bias[None, None], carry
