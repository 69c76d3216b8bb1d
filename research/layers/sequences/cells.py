"""Recurrent cells as pure functions, and the loop that runs one over time.

A cell is elementwise in everything but the product of the hidden state with the recurrent kernel, so it is two
functions. `gates` puts together `projected`, what the input contributes to each gate, and `product`, what the hidden
state contributes; it is linear. `advance` goes from the gates and the carry, a tuple whose first array is the hidden
state, to the next carry.
"""

from collections.abc import Callable
from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from research.kernels.held_gradient import held_gradient

Cell = Literal["rnn", "lstm", "gru"]
Nonlinearity = Literal["tanh", "relu"]
Carry = tuple[jax.Array, ...]

GATES: dict[Cell, int] = {"rnn": 1, "lstm": 4, "gru": 3}
STATES: dict[Cell, int] = {"rnn": 1, "lstm": 2, "gru": 1}


class CellFunctions(NamedTuple):
    """What a cell computes at a step: advance(gates(projected, product), carry) is the next carry."""

    gates: Callable[[jax.Array, jax.Array], jax.Array]
    advance: Callable[[jax.Array, Carry], Carry]


def elman_tanh(gates: jax.Array, carry: Carry) -> Carry:
    """Return h = tanh(Wx + Uh + b): Elman (1990), "Finding structure in time"."""
    return (jnp.tanh(gates),)


def elman_relu(gates: jax.Array, carry: Carry) -> Carry:
    """Return h = max(Wx + Uh + b, 0): the rectified network of Le, Jaitly and Hinton (2015)."""
    return (jax.nn.relu(gates),)


def lstm(gates: jax.Array, carry: Carry) -> Carry:
    """Return (h, c) with c = σ(f) c + σ(i) tanh(g) and h = σ(o) tanh(c); the gates lie in the order i, f, g, o.

    Hochreiter and Schmidhuber (1997), with the forget gate of Gers, Schmidhuber and Cummins (2000), no peepholes.
    """
    _, c = carry
    i, f, g, o = jnp.split(gates, 4, axis=-1)  # each [b, h]
    c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
    return jax.nn.sigmoid(o) * jnp.tanh(c), c


def gru(gates: jax.Array, carry: Carry) -> Carry:
    """Return h = (1 - z) n + z h, where n = tanh(x_n + r s_n), x from the input and s from the state.

    Cho et al. (2014), in the variant whose reset gate r multiplies the recurrent product (and its bias) instead of the
    state that goes into it, as cuDNN and PyTorch have it: the product is then one for all three gates.
    """
    (h,) = carry
    r, z, x_n, s_n = jnp.split(gates, 4, axis=-1)  # each [b, h]
    r, z = jax.nn.sigmoid(r), jax.nn.sigmoid(z)
    n = jnp.tanh(x_n + r * s_n)
    return ((1 - z) * n + z * h,)


def gru_gates(projected: jax.Array, product: jax.Array) -> jax.Array:
    """Return the sums for r and z, then both parts of n: two [..., 3 h], ordered r, z, n, -> [..., 4 h]."""
    cut = projected.shape[-1] // 3 * 2
    return jnp.concatenate(
        [projected[..., :cut] + product[..., :cut], projected[..., cut:], product[..., cut:]], axis=-1
    )


def cell_functions(cell: Cell, nonlinearity: Nonlinearity) -> CellFunctions:
    """Return the functions of the named cell; the nonlinearity is the Elman network's alone."""
    match cell:
        case "rnn":
            return CellFunctions(jnp.add, elman_relu if nonlinearity == "relu" else elman_tanh)
        case "lstm":
            return CellFunctions(jnp.add, lstm)
        case "gru":
            return CellFunctions(gru_gates, gru)


@partial(jax.custom_jvp, nondiff_argnums=(0, 6, 7))
def unroll(
    cell: CellFunctions,
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
    the last step to the first. Products are of precision `dtype`; gates and carry are float32. Derivatives of every
    kind and order exist; that of the kernel is one product over all steps.
    """

    def body(carry: Carry, step: tuple[jax.Array, jax.Array | None]) -> tuple[Carry, jax.Array]:
        """Take one step."""
        inputs, counts = step
        gates = cell.gates(inputs.astype(jnp.float32), _product(carry[0], kernel, offset, dtype))
        after = _where(counts, cell.advance(gates, carry), carry)
        return after, after[0]

    carry, outputs = jax.lax.scan(body, carry, (projected, valid), reverse=reverse)
    return outputs, carry


@unroll.defjvp
def _unroll_jvp(
    cell: CellFunctions, reverse: bool, dtype: Literal["float32", "bfloat16"], primals: tuple, tangents: tuple
) -> tuple:
    """Run the cell over time, and then its differential.

    What changes of the input, the kernel and the offset do to the gates of all steps is computed before the loop. So
    the transposed program has the kernel's gradient after its loop, as one product, not as one at every step.
    """
    projected, kernel, offset, carry, valid = primals
    projected_dot, kernel_dot, offset_dot, carry_dot, _ = tangents

    def body(carry: Carry, step: tuple[jax.Array, jax.Array | None]) -> tuple[Carry, tuple]:
        """Take one step, and keep its differential."""
        inputs, counts = step
        gates = cell.gates(inputs.astype(jnp.float32), _product(carry[0], kernel, offset, dtype))
        after, differential = jax.linearize(cell.advance, gates, carry)
        after = _where(counts, after, carry)
        return after, (after[0], differential)

    def body_dot(carry_dot: Carry, step: tuple) -> tuple[Carry, jax.Array]:
        """Take one step of the differential."""
        gates_dot, counts, differential = step
        product_dot = _product(carry_dot[0], kernel, None, dtype)
        gates_dot = gates_dot + cell.gates(jnp.zeros_like(product_dot), product_dot)
        after_dot = _where(counts, differential(gates_dot, carry_dot), carry_dot)
        return after_dot, after_dot[0]

    end, (outputs, differentials) = jax.lax.scan(body, carry, (projected, valid), reverse=reverse)
    first = carry[0][None]
    states = jnp.concatenate([outputs[1:], first] if reverse else [first, outputs[:-1]])  # those before each step
    l, b, h = states.shape
    # In rows as in `Dense`; sequences lead, since on a mesh they are divided.
    rows = states.swapaxes(0, 1).reshape(b * l, h)
    product_dot = held_gradient(_product(rows, kernel_dot, offset_dot, dtype)).reshape(b, l, -1).swapaxes(0, 1)
    gates_dot = cell.gates(projected_dot.astype(jnp.float32), product_dot)
    end_dot, outputs_dot = jax.lax.scan(body_dot, carry_dot, (gates_dot, valid, differentials), reverse=reverse)
    return (outputs, end), (outputs_dot, end_dot)


def _product(
    state: jax.Array, kernel: jax.Array, offset: jax.Array | None, dtype: Literal["float32", "bfloat16"]
) -> jax.Array:
    """Return what hidden states [b, h] contribute to the gates, [b, g h], float32."""
    product = (state.astype(dtype) @ kernel.astype(dtype)).astype(jnp.float32)
    return product if offset is None else product + offset[None]


def _where(counts: jax.Array | None, new: Carry, old: Carry) -> Carry:
    """Return the new carry of the sequences that count [b], and the old one of the others."""
    if counts is None:
        return new
    return tuple(jnp.where(counts[:, None], after, before) for after, before in zip(new, old, strict=True))
