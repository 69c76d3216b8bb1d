"""Sequences of differing lengths in one array: which steps count, and pooling over those that do."""

from collections.abc import Mapping
from typing import Literal

import jax
import jax.numpy as jnp

from research.errors import UsageError

SequenceInputs = jax.Array | Mapping[str, jax.Array]
SequencePooling = Literal["last", "mean", "max"]


def read_sequence(inputs: SequenceInputs, name: Literal["tokens", "features"]) -> tuple[jax.Array, jax.Array | None]:
    """Return the sequence that a model is called with, and the lengths [b], or None where all steps count.

    `inputs` is the sequence itself or a mapping with it under `name`, and optionally `lengths`. Tokens are integers
    [b, l], features [b, l, d].

    Raises:
        UsageError: the sequence is not there, is empty, or has another type or shape.
    """
    lengths = None
    if isinstance(inputs, Mapping):
        if name not in inputs:
            raise UsageError(f'the model reads "{name}", but its inputs are {", ".join(sorted(inputs)) or "empty"}')
        lengths = inputs.get("lengths")
        inputs = inputs[name]
    layout = "[b, l]" if name == "tokens" else "[b, l, d]"
    if inputs.ndim != layout.count(",") + 1:
        raise UsageError(f"{name} must be {layout}, not of shape {inputs.shape}")
    if name == "tokens" and not jnp.issubdtype(inputs.dtype, jnp.integer):
        raise UsageError(f"tokens must be integers, not {inputs.dtype}; for features set vocabulary to None")
    if 0 in inputs.shape:
        raise UsageError(f"{name} of shape {inputs.shape} are empty")
    return inputs, lengths


def valid_steps(lengths: jax.Array, b: int, l: int) -> jax.Array:
    """Return [b, l], True where a step lies within its sequence; `lengths` [b] are integers.

    Raises:
        UsageError: the lengths are not one integer per sequence.
    """
    if lengths.shape != (b,) or not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise UsageError(
            f"lengths must be {b} integers, one per sequence, not {lengths.dtype} of shape {lengths.shape}"
        )
    return jnp.arange(l)[None] < lengths[:, None]


def pool_steps(x: jax.Array, lengths: jax.Array | None, kind: SequencePooling) -> jax.Array:
    """Reduce the steps that count to one: [b, l, d] -> [b, d]; of a sequence of length 0, zeros.

    `last` is the last valid step, `mean` and `max` are over all valid ones. What stands in the padding does not matter.
    """
    b, l, d = x.shape
    if lengths is None:
        lengths = jnp.full(b, l)
    valid = valid_steps(lengths, b, l)[..., None]  # [b, l, 1]
    x = jnp.where(valid, x, 0)
    match kind:
        case "last":
            last = jnp.clip(lengths - 1, 0, l - 1)[:, None, None]  # [b, 1, 1]
            return jnp.take_along_axis(x, last, axis=1)[:, 0]
        case "mean":
            return x.sum(axis=1) / jnp.clip(lengths, 1, l)[:, None].astype(x.dtype)
        case "max":
            highest = jnp.where(valid, x, jnp.finfo(x.dtype).min).max(axis=1)
            return jnp.where(lengths[:, None] > 0, highest, 0)
