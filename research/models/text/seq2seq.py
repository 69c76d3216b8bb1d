"""Recurrent encoder-decoder: one network reads a sequence, another writes one, with or without attention."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from research.errors import UsageError
from research.fields import Range, Size, is_static_zero
from research.layers.dense import Dense
from research.layers.dropout import Dropout
from research.layers.partition import Rules
from research.layers.replicas import draw_rows
from research.layers.sequences.alignment import Alignment
from research.layers.sequences.cells import STATES, Carry
from research.layers.sequences.lengths import SequenceInputs, read_sequence, valid_steps
from research.models.text.recurrent import RecurrentFields


class Memory(NamedTuple):
    """What the encoder gave: outputs [b, s, m], attention keys [b, s, k] or None, mask [b, s], True where valid."""

    outputs: jax.Array
    keys: jax.Array | None
    mask: jax.Array


class DecoderCarry(NamedTuple):
    """The decoder between two steps: the recurrent carry, and with input feeding its last output [b, h], else None."""

    recurrent: tuple[tuple[Carry, ...], ...]
    fed: jax.Array | None


class Seq2Seq(RecurrentFields):
    """A recurrent encoder-decoder: source tokens and the beginning of the target -> logits of what follows.

    Called with a mapping of `tokens` [b, s], optionally `lengths` [b] (of the source), and `targets` [b, t], what the
    decoder reads: the target behind its start token. Gives logits [b, t, target_vocabulary], float32; those at step i
    are of the token after `targets[:, i]`, and depend on no later target.

    Without attention it is Sutskever, Vinyals and Le (2014): the decoder starts from the encoder's final state and sees
    nothing else. With attention the decoder's output h looks at the encoder's outputs and becomes tanh(W [context; h])
    before the logits: Luong, Pham and Manning (2015), also for the additive score of Bahdanau, Cho and Bengio (2015),
    who look one step earlier. The final states of a bidirectional encoder pass through a dense layer for each array,
    with tanh for hidden states (as theirs) and none for LSTM cells. Scheduled sampling is Bengio et al. (2015), with
    the likeliest token. With `train=True` it draws from the streams `dropout` and, where sampling is on, `sampling`.
    Sown into `intermediates`, unless inside a loop over steps: `alignment_weights` [b, t, s].

    `start` and `step` are what `greedy` and `beam_search` of `research.layers.sequences.decoding` need.
    """

    partition: ClassVar[Rules] = (*RecurrentFields.partition, (r"\bhead\.(kernel|bias)$", ("tensor",)))

    source_vocabulary: Size = 256
    """Number of token ids that are read."""
    target_vocabulary: Size = 256
    """Number of token ids that are written."""
    embedding: Size = 64
    """Width of both token embeddings."""
    bidirectional: bool = False
    """Whether the encoder also reads backwards."""
    attention: Literal["none", "additive", "dot", "general", "concat"] = "additive"
    """How the decoder looks at the encoder's outputs; dot needs them as wide as its own, so not bidirectional."""
    input_feeding: bool = False
    """Whether the decoder also reads its last output, so that it knows what it attended to (Luong et al., 2015)."""
    scheduled_sampling: Annotated[float, "switch", Range(0.0, 1.0)] = 0.0
    """Share of the decoder's inputs that in training are its own last guess; teacher forcing has the rate 1 - this."""

    @property
    def reads(self) -> tuple[str, ...]:
        return ("tokens", "lengths?", "targets")

    @nn.nowrap
    def vocabularies(self) -> dict[str, int]:
        return {"tokens": self.source_vocabulary, "targets": self.target_vocabulary}

    def setup(self) -> None:
        if self.attention == "dot" and self.bidirectional:
            raise UsageError(
                f"dot attention multiplies states of width {self.hidden} with outputs of both directions, of width "
                f"{2 * self.hidden}: use general, or an encoder of one direction"
            )
        self.source_embed = nn.Embed(self.source_vocabulary, self.embedding, dtype=self.dtype)
        self.target_embed = nn.Embed(self.target_vocabulary, self.embedding, dtype=self.dtype)
        self.encoder, self.decoder = self.stack(self.bidirectional), self.stack(False)
        if self.bidirectional:
            self.bridge = [nn.Dense(self.hidden) for _ in range(self.layers * STATES[self.cell])]
        if self.attention != "none":
            self.alignment = Alignment(self.attention, self.hidden, self.dtype)
            self.combine = nn.Dense(self.hidden, use_bias=False, dtype=self.dtype)
        self.embed_dropout, self.output_dropout = Dropout(self.dropout), Dropout(self.dropout)
        self.head = Dense(self.target_vocabulary, dtype=self.dtype)

    def __call__(self, inputs: Mapping[str, jax.Array], train: bool = False) -> jax.Array:
        if not isinstance(inputs, Mapping) or "targets" not in inputs:
            raise UsageError('an encoder-decoder is called with a mapping of "tokens", "targets" and maybe "lengths"')
        targets, _ = read_sequence(inputs["targets"], "tokens")
        memory, carry = self._encode(inputs, train)
        sampling = train and not is_static_zero(self.scheduled_sampling)
        if not (sampling or self.input_feeding):
            _, outputs = self._write(memory, carry, targets, train)  # [b, t, h]
            return self._logits(outputs, train)

        def body(model: "Seq2Seq", state: tuple[DecoderCarry, jax.Array], target: jax.Array) -> tuple[Any, jax.Array]:
            """Read a target, or the last guess in its place; give logits [b, v] where guesses matter, else [b, h]."""
            carry, guess = state
            if sampling:
                key = model.make_rng("sampling")
                free = draw_rows(lambda shape: jax.random.bernoulli(key, model.scheduled_sampling, shape), target.shape)
                target = jnp.where(free & (guess >= 0), guess, target)
            carry, outputs = model._write(memory, carry, target[:, None], train)
            if not sampling:
                return (carry, guess), outputs[:, 0]
            logits = model._logits(outputs, train)[:, 0]
            return (carry, logits.argmax(axis=-1).astype(guess.dtype)), logits

        streams: dict[Any, bool] = {"params": False, "dropout": True, "sampling": True}
        scan = nn.scan(body, variable_broadcast="params", split_rngs=streams, in_axes=1, out_axes=1)
        _, outputs = scan(self, (carry, jnp.full(targets.shape[0], -1, jnp.int32)), targets)
        return outputs if sampling else self._logits(outputs, train)  # [b, t, v]

    def start(self, inputs: SequenceInputs, capacity: int) -> tuple[Memory, DecoderCarry]:
        """Read sources [b, s]; return what the decoder looks at, and its carry before the start token.

        Both have room for any number of target tokens, so `capacity` changes nothing.
        """
        return self._encode(inputs)

    def step(
        self, carry: tuple[Memory, DecoderCarry], tokens: jax.Array
    ) -> tuple[tuple[Memory, DecoderCarry], jax.Array]:
        """Return the carry after the decoder has read one token each [b], and the logits [b, v] of the next."""
        memory, decoder = carry
        decoder, outputs = self._write(memory, decoder, tokens[:, None], False)
        return (memory, decoder), self._logits(outputs, False)[:, 0]

    def _encode(self, inputs: SequenceInputs, train: bool = False) -> tuple[Memory, DecoderCarry]:
        """Return what the decoder looks at, and its carry before the first step, from `tokens` and `lengths`."""
        tokens, lengths = read_sequence(inputs, "tokens")
        b, s = tokens.shape
        x = self.embed_dropout(self.source_embed(tokens), train)  # [b, s, embedding]
        outputs, ends = self.encoder(x, lengths, train=train)  # [b, s, h or 2 h]
        mask = jnp.ones((b, s), bool) if lengths is None else valid_steps(lengths, b, s)
        keys = None if self.attention == "none" else self.alignment.keys(outputs, mask)
        fed = jnp.zeros((b, self.hidden), self.dtype) if self.input_feeding else None
        return Memory(outputs, keys, mask), DecoderCarry(self._bridge(ends) if self.bidirectional else ends, fed)

    def _bridge(self, ends: tuple[tuple[Carry, ...], ...]) -> tuple[tuple[Carry, ...], ...]:
        """Return a carry of one direction from one of two."""
        layers, dense = [], iter(self.bridge)
        for forward, backward in ends:
            joined = [next(dense)(jnp.concatenate(pair, axis=-1)) for pair in zip(forward, backward, strict=True)]
            layers.append(((jnp.tanh(joined[0]), *joined[1:]),))
        return tuple(layers)

    def _write(
        self, memory: Memory, carry: DecoderCarry, tokens: jax.Array, train: bool
    ) -> tuple[DecoderCarry, jax.Array]:
        """Read tokens [b, t] and return the carry and outputs [b, t, h]; with input feeding, t is 1."""
        x = self.embed_dropout(self.target_embed(tokens), train)  # [b, t, embedding]
        if carry.fed is not None:
            x = jnp.concatenate([x, carry.fed[:, None]], axis=-1)  # [b, 1, embedding + h]
        outputs, recurrent = self.decoder(x, carry=carry.recurrent, train=train)  # [b, t, h]
        if self.attention != "none":
            context, weights = self.alignment(outputs, memory.outputs, memory.mask, memory.keys)
            self.sow("intermediates", "alignment_weights", weights)
            outputs = jnp.tanh(self.combine(jnp.concatenate([context, outputs], axis=-1)))  # [b, t, h]
        return DecoderCarry(recurrent, None if carry.fed is None else outputs[:, -1]), outputs

    def _logits(self, outputs: jax.Array, train: bool) -> jax.Array:
        """Return logits in float32: [b, t, h] -> [b, t, v]."""
        return self.head(self.output_dropout(outputs, train)).astype(jnp.float32)
