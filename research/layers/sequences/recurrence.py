"""Recurrent layers: one or both directions, any lengths, a carry to continue from, and stacks of them."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from research.errors import UsageError
from research.fields import Rate, Size
from research.layers.dense import Dense
from research.layers.dropout import Dropout
from research.layers.sequences.cells import GATES, STATES, Carry, Cell, Nonlinearity, cell_functions, unroll
from research.layers.sequences.lengths import valid_steps


class Direction(nn.Module):
    """One cell run one way over a sequence; see `Recurrence`, which is made of these."""

    features: Size
    cell: Cell
    nonlinearity: Nonlinearity
    forget_bias: float
    dtype: Literal["float32", "bfloat16"]
    reverse: bool

    @nn.compact
    def __call__(self, x: jax.Array, valid: jax.Array | None, carry: Carry) -> tuple[jax.Array, Carry]:
        b, l, d = x.shape
        h, gates = self.features, GATES[self.cell]

        def bias(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
            """Return zeros, but the forget gate's own start."""
            zeros = jnp.zeros(shape, dtype)
            return zeros.at[h : 2 * h].set(self.forget_bias) if self.cell == "lstm" else zeros

        def orthogonal(key: jax.Array, shape: tuple[int, ...], dtype: Any) -> jax.Array:
            """Return an orthogonal matrix for each gate, side by side."""
            matrix = nn.initializers.orthogonal()
            return jnp.concatenate([matrix(part, (h, h), dtype) for part in jax.random.split(key, gates)], axis=1)

        # One product for all steps, before the loop, in which time leads.
        project = Dense(gates * h, dtype=self.dtype, bias_init=bias, name="input")
        projected = project(x).swapaxes(0, 1)  # [l, b, g h]
        kernel = self.param("recurrent_kernel", orthogonal, (h, gates * h), jnp.float32)
        offset = None
        if self.cell == "gru":  # the candidate's recurrent bias is inside the reset gate, so it cannot join the input's
            candidate = self.param("recurrent_bias", nn.initializers.zeros, (h,), jnp.float32)
            offset = jnp.concatenate([jnp.zeros(2 * h), candidate])
        counts = None if valid is None else valid.swapaxes(0, 1)  # [l, b]
        functions = cell_functions(self.cell, self.nonlinearity)
        outputs, carry = unroll(functions, projected, kernel, offset, carry, counts, self.reverse, self.dtype)
        outputs = outputs.swapaxes(0, 1).astype(self.dtype)  # [b, l, h]
        return outputs if valid is None else jnp.where(valid[..., None], outputs, 0), carry


class Recurrence(nn.Module):
    """A recurrent layer: x [b, l, d], lengths [b], carry -> outputs [b, l, h] or [b, l, 2 h], carry.

    The cells and their sources are in `research.layers.sequences.cells`. `lengths` (int32, None: all steps count)
    masks: past a sequence's end outputs are 0, its carry stays that of its last valid step, and whatever the padding
    holds, a NaN too, changes nothing. The backward direction starts at each sequence's own last valid step.

    The carry has one entry a direction, forward first, each a tuple of float32 [b, h]: (h,), or (h, c) for the LSTM.
    None starts from zeros. Running on from the carry of a first part equals running the whole in the forward
    direction. Input kernels start as LeCun normal, recurrent ones orthogonal for each gate (Saxe et al., 2014), biases
    at 0 but for the forget gate's. Matrix products are of precision `dtype`; gates, carry and parameters are float32.

    Raises:
        UsageError: x, lengths or carry of a shape that does not fit; names the sizes.
    """

    features: Size
    """Width h of the hidden state, of one direction."""
    cell: Cell = "lstm"
    """Which cell: Elman network, LSTM or GRU."""
    bidirectional: bool = False
    """Whether a second cell runs backwards, its outputs beside the forward ones (Schuster and Paliwal, 1997)."""
    nonlinearity: Nonlinearity = "tanh"
    """Of the Elman network; the other cells have their own."""
    forget_bias: float = 1.0
    """Where the bias of the LSTM's forget gate starts; above 0 it remembers at first (Jozefowicz et al., 2015)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the matrix products and outputs."""

    @nn.compact
    def __call__(
        self, x: jax.Array, lengths: jax.Array | None = None, carry: tuple[Carry, ...] | None = None
    ) -> tuple[jax.Array, tuple[Carry, ...]]:
        if x.ndim != 3:
            raise UsageError(f"a recurrence runs over [b, l, d], not an array of shape {x.shape}")
        b, l, d = x.shape
        valid = None if lengths is None else valid_steps(lengths, b, l)  # [b, l]
        if valid is not None:
            x = jnp.where(valid[..., None], x, 0)  # before the product: 0 times a NaN would reach the kernel's gradient
        start = self.initial_carry(b)
        carry = start if carry is None else carry
        found, wanted = jax.tree.map(jnp.shape, carry), jax.tree.map(jnp.shape, start)
        if found != wanted:
            raise UsageError(f"the carry of {b} sequences in {self.features} features has shapes {wanted}, not {found}")
        carry = jax.tree.map(lambda state: state.astype(jnp.float32), carry)
        outputs, after = [], []
        fields = (self.features, self.cell, self.nonlinearity, self.forget_bias, self.dtype)
        for reverse, state in enumerate(carry):
            one = Direction(*fields, reverse=bool(reverse), name="backward" if reverse else "forward")
            output, end = one(x, valid, state)  # [b, l, h]
            outputs.append(output)
            after.append(end)
        return jnp.concatenate(outputs, axis=-1), tuple(after)  # [b, l, h or 2 h]

    def initial_carry(self, b: int) -> tuple[Carry, ...]:
        """Return the carry of `b` sequences that have not begun: zeros."""
        zeros = jnp.zeros((b, self.features))
        return ((zeros,) * STATES[self.cell],) * (2 if self.bidirectional else 1)


class StackedRecurrence(nn.Module):
    """Recurrent layers, each on the one before: x [b, l, d], lengths [b], carry -> outputs [b, l, h or 2 h], carry.

    Each layer is a `Recurrence`, whose docstring states lengths, precision and errors; the carry has one entry a layer.
    With `train=True` and a dropout rate it draws from the `dropout` stream.
    """

    features: Size
    """Width h of every hidden state, of one direction."""
    layers: Size = 1
    """How many recurrent layers."""
    cell: Cell = "lstm"
    """Which cell: Elman network, LSTM or GRU."""
    bidirectional: bool = False
    """Whether every layer also runs backwards; the next layer reads both."""
    dropout: Rate = 0.0
    """Share of what one layer hands to the next that is dropped in training (Zaremba et al., 2014)."""
    residual: bool = False
    """Whether each layer after the first adds its input to its output (Wu et al., 2016)."""
    nonlinearity: Nonlinearity = "tanh"
    """Of the Elman network; the other cells have their own."""
    forget_bias: float = 1.0
    """Where the bias of the LSTM's forget gate starts."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the matrix products and outputs."""

    def setup(self) -> None:
        self.layer = [self._layer() for _ in range(self.layers)]
        self.drop = [Dropout(self.dropout) for _ in range(self.layers - 1)]

    @nn.nowrap  # makes a submodule, which linen allows no other method
    def _layer(self) -> Recurrence:
        """Return one layer."""
        return Recurrence(self.features, self.cell, self.bidirectional, self.nonlinearity, self.forget_bias, self.dtype)

    def __call__(
        self,
        x: jax.Array,
        lengths: jax.Array | None = None,
        carry: tuple[tuple[Carry, ...], ...] | None = None,
        train: bool = False,
    ) -> tuple[jax.Array, tuple[tuple[Carry, ...], ...]]:
        if carry is not None and len(carry) != self.layers:
            raise UsageError(f"the carry of {self.layers} layers has one entry a layer, not {len(carry)}")
        after = []
        for index, layer in enumerate(self.layer):
            inputs = x if index == 0 else self.drop[index - 1](x, train)
            outputs, end = layer(inputs, lengths, None if carry is None else carry[index])  # [b, l, h or 2 h]
            x = outputs + x if self.residual and index > 0 else outputs
            after.append(end)
        return x, tuple(after)

    def initial_carry(self, b: int) -> tuple[tuple[Carry, ...], ...]:
        """Return the carry of `b` sequences that have not begun: zeros."""
        one = Recurrence(self.features, self.cell, self.bidirectional, parent=None)
        return (one.initial_carry(b),) * self.layers
