"""Recurrent cells as pure functions, and the loop that runs one over time.

A cell is elementwise in everything but the product of the hidden state with the recurrent kernel, so it is written as
a function of three things: `projected`, what the input contributes to each gate; `product`, what the hidden state
contributes; and the carry, a tuple whose first array is the hidden state.
"""

from collections.abc import Callable
from typing import Literal

import jax
import jax.numpy as jnp

Cell = Literal["rnn", "lstm", "gru"]
Nonlinearity = Literal["tanh", "relu"]
Carry = tuple[jax.Array, ...]
Advance = Callable[[jax.Array, jax.Array, Carry], Carry]

GATES: dict[Cell, int] = {"rnn": 1, "lstm": 4, "gru": 3}
STATES: dict[Cell, int] = {"rnn": 1, "lstm": 2, "gru": 1}


def elman_tanh(projected: jax.Array, product: jax.Array, carry: Carry) -> Carry:
    """Return h = tanh(Wx + Uh + b): Elman (1990), "Finding structure in time"."""
    return (jnp.tanh(projected + product),)


def elman_relu(projected: jax.Array, product: jax.Array, carry: Carry) -> Carry:
    """Return h = max(Wx + Uh + b, 0): the rectified network of Le, Jaitly and Hinton (2015)."""
    return (jax.nn.relu(projected + product),)


def lstm(projected: jax.Array, product: jax.Array, carry: Carry) -> Carry:
    """Return (h, c) with c = σ(f) c + σ(i) tanh(g) and h = σ(o) tanh(c); the gates lie in the order i, f, g, o.

    Hochreiter and Schmidhuber (1997), with the forget gate of Gers, Schmidhuber and Cummins (2000), no peepholes.
    """
    _, c = carry
    i, f, g, o = jnp.split(projected + product, 4, axis=-1)  # each [b, h]
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru(projected: jax.Array, product: jax.Array, carry: Carry) -> Carry:
    """Return h = (1 - z) n + z h, where n = tanh(x_n + r s_n), x from the input and s from the state; order r, z, n.

    Cho et al. (2014), in the variant whose reset gate r multiplies the recurrent product (and its bias) instead of the
    state that goes into it, as cuDNN and PyTorch have it: the product is then one for all three gates.
    """
    (h,) = carry
    x_r, x_z, x_n = jnp.split(projected, 3, axis=-1)  # each [b, h]
    s_r, s_z, s_n = jnp.split(product, 3, axis=-1)  # each [b, h]
    r, z = jax.nn.sigmoid(x_r + s_r), jax.nn.sigmoid(x_z + s_z)
    n = jnp.tanh(x_n + r * s_n)
    return ((1 - z) * n + z * h,)


def cell_function(cell: Cell, nonlinearity: Nonlinearity) -> Advance:
    """Return the function of the named cell; the nonlinearity is the Elman network's alone."""
    match cell:
        case "rnn":
            return elman_relu if nonlinearity == "relu" else elman_tanh
        case "lstm":
            return lstm
        case "gru":
            return gru


def unroll(
    advance: Advance,
    projected: jax.Array,
    kernel: jax.Array,
    offset: jax.Array | None,
    carry: Carry,
    valid: jax.Array | None,
    reverse: bool,
    dtype: Literal["float32", "bfloat16"],
) -> tuple[jax.Array, Carry]:
    """Run a cell over time: projected [l, b, g h], kernel [h, g h], offset [g h], valid [l, b] -> ([l, b, h], carry).

    The offset is added to the recurrent product. Where `valid` is False the carry stays as it is. `reverse` runs from
    the last step to the first. Products are of precision `dtype`; gates, carry and the kernel's gradient are float32.
    """

    def body(carry: Carry, step: tuple[jax.Array, jax.Array | None]) -> tuple[Carry, jax.Array]:
        """Take one step."""
        inputs, counts = step
        # The cast is inside the loop so that the kernel's gradient is summed over the steps in float32: over 512 steps
        # of an LSTM in bfloat16 it is 0.2 % off that in float32, and 6 % off with the cast before the loop.
        product = (carry[0].astype(dtype) @ kernel.astype(dtype)).astype(jnp.float32)  # [b, g h]
        if offset is not None:
            product = product + offset[None]
        after = advance(inputs.astype(jnp.float32), product, carry)
        if counts is not None:
            after = tuple(jnp.where(counts[:, None], new, old) for new, old in zip(after, carry, strict=True))
        return after, after[0]

    carry, outputs = jax.lax.scan(body, carry, (projected, valid), reverse=reverse)
    return outputs, carry
