"""The compiled programs of writing: each is compiled once for a batch size and a bucket of lengths.

A prompt is padded on the right to its bucket. Padding is nothing to a row: what is kept of it lies after the row's end,
where nothing sees it before it is written over. So no row depends on another one, bit for bit.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from research.layers.sequences.decoding import Decoded, beam_search
from research.layers.sequences.sampling import penalize, sample

SMALLEST = 16


class Setting(NamedTuple):
    """What a program is compiled for, besides the shapes of its arguments."""

    model: nn.Module
    capacity: int
    """Tokens for which there is room in a cache."""
    start: int | None = None
    """With which an encoder-decoder begins; None for a language model."""
    top_k: int | None = None


class State(NamedTuple):
    """Texts between two tokens; b is the first axis of every array."""

    carry: Any
    """What the model carries, which has read all but `token`."""
    token: jax.Array
    """The token last written, [b]."""
    seen: jax.Array | None
    """Which tokens are in prompt or text, [b, v]; None where nobody asks."""


def bucket(length: int, limit: int | None) -> int:
    """Return the power of two that has room for a length, at most `limit` unless that is too short."""
    size = max(SMALLEST, 1 << (length - 1).bit_length())
    return size if limit is None else max(length, min(size, limit))


def padded(rows: Sequence[Sequence[int]], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of ids as int32 [b, length], and their lengths [b]."""
    tokens = np.zeros((len(rows), length), np.int32)
    for row, place in zip(rows, tokens, strict=True):
        place[: len(row)] = row
    return tokens, np.array([len(row) for row in rows], np.int32)


@functools.partial(jax.jit, static_argnums=0)
def begin(
    setting: Setting, params: Any, tokens: jax.Array, lengths: jax.Array, keys: jax.Array, numbers: dict[str, Any]
) -> State:
    """Read prompts [b, l] and write the first token of each row.

    `numbers` are those that change the logits, by the names that `Options` has for them; what is off is not there, and
    without a temperature the likeliest token is taken. There is a key for each row.
    """
    carry, logits = _read(setting, params, tokens, lengths)
    seen = None
    if "repetition_penalty" in numbers:
        rows, none = jnp.arange(len(tokens)), jnp.zeros(logits.shape, bool)
        if setting.start is None:
            valid = jnp.arange(tokens.shape[1])[None] < lengths[:, None]
            seen = none.at[rows[:, None], tokens].max(valid)
        else:
            seen = none.at[rows, setting.start].set(True)
    return State(carry, _choose(setting, logits, seen, keys, 0, numbers), seen)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def advance(
    setting: Setting, params: Any, state: State, keys: jax.Array, index: jax.Array, numbers: dict[str, Any]
) -> State:
    """Read the token last written of each row, and write the next one, which is number `index` of its text."""
    seen = None if state.seen is None else state.seen.at[jnp.arange(len(state.token)), state.token].set(True)
    carry, logits = setting.model.bind({"params": params}).step(state.carry, state.token)  # type: ignore[operator]
    return State(carry, _choose(setting, logits, seen, keys, index, numbers), seen)


@functools.partial(jax.jit, static_argnums=0, donate_argnums=2)
def renew(
    setting: Setting,
    params: Any,
    state: State,
    full: jax.Array,
    tokens: jax.Array,
    lengths: jax.Array,
    keys: jax.Array,
    index: jax.Array,
    numbers: dict[str, Any],
) -> State:
    """Return the state with rows begun anew where they are `full` [b]: with tokens [b, l], that of `index` written."""
    carry, logits = _read(setting, params, tokens, lengths)

    def pick(new: jax.Array, old: jax.Array) -> jax.Array:
        return jnp.where(full.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    fresh = State(carry, _choose(setting, logits, state.seen, keys, index, numbers), state.seen)
    return jax.tree.map(pick, fresh, state)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def search(
    setting: Setting,
    ends: tuple[int, ...],
    steps: int,
    beams: int,
    params: Any,
    tokens: jax.Array,
    lengths: jax.Array,
    length_penalty: jax.Array,
) -> Decoded:
    """Return the best texts of `steps` tokens after prompts [b, l]; one program for each number of steps too."""
    b = len(tokens)
    writer: Any = setting.model.bind({"params": params})
    if setting.start is not None:
        carry, last = writer.start({"tokens": tokens, "lengths": lengths}, setting.capacity), jnp.full(b, setting.start)
    else:  # all but the last token is read, which the search begins with
        carry, _ = writer.start({"tokens": tokens, "lengths": lengths - 1}, setting.capacity)
        last = jnp.take_along_axis(tokens, lengths[:, None] - 1, axis=1)[:, 0]
    return beam_search(writer.step, carry, last, ends, steps, beams, length_penalty)


def _read(setting: Setting, params: Any, tokens: jax.Array, lengths: jax.Array) -> tuple[Any, jax.Array]:
    """Return what is carried on from prompts, and the logits [b, v] of the token after each."""
    writer: Any = setting.model.bind({"params": params})
    found = writer.start({"tokens": tokens, "lengths": lengths}, setting.capacity)
    return found if setting.start is None else writer.step(found, jnp.full(len(tokens), setting.start))


def _choose(
    setting: Setting,
    logits: jax.Array,
    seen: jax.Array | None,
    keys: jax.Array,
    index: jax.Array | int,
    numbers: dict[str, Any],
) -> jax.Array:
    """Return the next token of each row, [b]."""
    if seen is not None:
        logits = penalize(logits, seen, numbers["repetition_penalty"])
    return sample(
        jax.vmap(jax.random.fold_in, (0, None))(keys, index),
        logits,
        temperature=numbers.get("temperature", 0.0),
        k=setting.top_k,
        p=numbers.get("top_p"),
        share=numbers.get("min_p"),
    )
