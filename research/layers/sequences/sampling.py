"""Writing at random: from logits to tokens, as pure functions of logits and a key."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from research.errors import UsageError
from research.fields import is_static_zero
from research.layers.sequences.decoding import Step


def top_k(logits: jax.Array, k: int) -> jax.Array:
    """Return logits [..., v] with all but the k highest -inf; those equal to the k-th stay. Source: Fan et al. (2018).

    Raises:
        UsageError: k is less than 1.
    """
    if k < 1:
        raise UsageError(f"top_k must be at least 1, not {k}")
    lowest = jax.lax.top_k(logits, min(k, logits.shape[-1]))[0][..., -1:]
    return jnp.where(logits < lowest, -jnp.inf, logits)


def top_p(logits: jax.Array, p: float | jax.Array) -> jax.Array:
    """Return logits [..., v] with all outside the nucleus -inf: the fewest likeliest tokens that reach probability p.

    The likeliest token always stays, as do those as likely as the last one of the nucleus. Source: Holtzman et al.
    (2020).
    """
    ordered = jnp.flip(jnp.sort(logits, axis=-1), axis=-1)
    probabilities = jax.nn.softmax(ordered, axis=-1)
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    inside = (before < p).at[..., 0].set(True)
    inside |= p >= 1  # however the probabilities add up
    lowest = jnp.where(inside, ordered, jnp.inf).min(axis=-1, keepdims=True)
    return jnp.where(logits < lowest, -jnp.inf, logits)


def min_p(logits: jax.Array, share: float | jax.Array) -> jax.Array:
    """Return logits [..., v] with all -inf that are less likely than `share`, at most 1, times the likeliest token.

    Source: Nguyen et al., "Turning up the heat: min-p sampling for creative and coherent LLM outputs" (2025).
    """
    probabilities = jax.nn.softmax(logits, axis=-1)
    return jnp.where(probabilities < share * probabilities.max(axis=-1, keepdims=True), -jnp.inf, logits)


def penalize(logits: jax.Array, seen: jax.Array, penalty: float | jax.Array) -> jax.Array:
    """Return logits [..., v], where a token was `seen` [..., v] over the penalty if positive, else times the penalty.

    So a penalty above 1 makes less likely what is there already. Source: Keskar et al., "CTRL" (2019, section 4.1), for
    negative logits as in transformers.
    """
    return jnp.where(seen, jnp.where(logits < 0, logits * penalty, logits / penalty), logits)


def sample(
    key: jax.Array,
    logits: jax.Array,
    *,
    temperature: float | jax.Array = 1.0,
    k: int | None = None,
    p: float | jax.Array | None = None,
    share: float | jax.Array | None = None,
) -> jax.Array:
    """Draw a token for each row, [b, v] -> int32 [b], from softmax(logits / temperature).

    First cut by top-k, then by top-p, then by min-p with that `share`. The floats may be arguments of a compiled
    program; a temperature that is a static zero takes the likeliest token. With a key for each row, [b], what a row
    draws depends on no other row.
    """
    if is_static_zero(temperature):
        return logits.argmax(axis=-1).astype(jnp.int32)
    logits = logits / temperature
    logits = logits if k is None else top_k(logits, k)
    logits = logits if p is None else top_p(logits, p)
    logits = logits if share is None else min_p(logits, share)
    draw = jax.random.categorical if key.ndim == 0 else jax.vmap(jax.random.categorical)
    return draw(key, logits).astype(jnp.int32)


def generate(
    step: Step,
    carry: Any,
    logits: jax.Array,
    key: jax.Array,
    steps: int,
    *,
    temperature: float | jax.Array = 1.0,
    k: int | None = None,
    p: float | jax.Array | None = None,
    end: int | None = None,
) -> jax.Array:
    """Write `steps` tokens for each row, drawn one after another: int32 [b, steps]; after an `end` token, only `end`.

    The key is one for all rows or, as in `sample`, one for each. `carry` and `logits` [b, v] are what a prompt left,
    `step(carry, tokens [b]) -> (carry, logits [b, v])` reads on:

        model = model.bind(variables)
        cache, logits = model.start(prompts, capacity=prompts.shape[1] + 99)
        tokens = generate(model.step, cache, logits, key, 100, temperature=0.8)

    Raises:
        UsageError: there are no steps.
    """
    if steps < 1:
        raise UsageError(f"generation needs at least one step, not {steps}")

    def draw(logits: jax.Array, ended: jax.Array, index: int | jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the next token of each row, and which rows have ended."""
        fold = jax.random.fold_in if key.ndim == 0 else jax.vmap(jax.random.fold_in, (0, None))
        token = sample(fold(key, index), logits, temperature=temperature, k=k, p=p)
        return (token, ended) if end is None else (token := jnp.where(ended, end, token), token == end)

    def body(state: tuple, index: jax.Array) -> tuple[tuple, jax.Array]:
        """Read the last token and draw the next."""
        carry, token, ended = state
        carry, logits = step(carry, token)
        token, ended = draw(logits, ended, index)
        return (carry, token, ended), token

    first, ended = draw(logits, jnp.zeros(len(logits), bool), 0)
    _, rest = jax.lax.scan(body, (carry, first, ended), jnp.arange(1, steps))
    return jnp.concatenate([first[None, :], rest]).T


def generate_beyond(
    start: Callable[[dict[str, jax.Array], int], tuple[Any, jax.Array]],
    step: Step,
    tokens: jax.Array,
    lengths: jax.Array,
    keys: jax.Array,
    steps: int,
    room: int,
    **options: Any,
) -> jax.Array:
    """Write more tokens than a model has positions for: int32 [b, steps].

    `start` and `step` are those of a language model; `tokens` [b, l] begin with prompts of `lengths` [b], at most
    `room` long, and there is a key for each row. Whenever `room` tokens have been read, the model begins anew with the
    last half of them, so a token is drawn given at least half of `room`, where there is as much, and at most all of it.
    `options` are those of `generate`.
    """
    b, l = tokens.shape
    half = (room + 1) // 2

    def write(seen: jax.Array, count: jax.Array, part: jax.Array | int, n: int) -> tuple[jax.Array, jax.Array]:
        """Return n more tokens of each row, and all that there are in order, [b, seen + n]."""
        carry, logits = start({"tokens": seen, "lengths": count}, seen.shape[1] + n - 1)
        folded = jax.vmap(jax.random.fold_in, (0, None))(keys, part)
        written = generate(step, carry, logits, folded, n, **options)
        places = jnp.arange(seen.shape[1] + n)[None]  # [1, seen + n]
        after = jnp.clip(places - count[:, None], 0, n - 1)
        whole = jnp.where(
            places < count[:, None], jnp.pad(seen, ((0, 0), (0, n))), jnp.take_along_axis(written, after, 1)
        )
        return written, whole

    def last(whole: jax.Array, count: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Return the last `half` of `count` tokens of each row, and how many there are."""
        places = jnp.maximum(count - half, 0)[:, None] + jnp.arange(half)[None]
        return jnp.take_along_axis(whole, jnp.minimum(places, whole.shape[1] - 1), axis=1), jnp.minimum(count, half)

    def body(state: tuple[jax.Array, jax.Array], part: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        """Write on from the last half."""
        written, whole = write(*state, part, room + 1 - half)
        return last(whole, state[1] + room + 1 - half), written

    first, whole = write(tokens, lengths, 0, room + 1 - l)  # the last token written is not read
    more = max(0, -(-(steps - first.shape[1]) // (room + 1 - half)))
    _, rest = jax.lax.scan(body, last(whole, lengths + first.shape[1]), jnp.arange(1, more + 1))
    rest = jnp.moveaxis(rest, 0, 1).reshape(b, -1)  # [b, more * (room + 1 - half)]
    return jnp.concatenate([first, rest], axis=1)[:, :steps]
