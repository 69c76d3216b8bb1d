"""Decoding as pure functions over one step of any model that writes token after token.

A step is `step(carry, tokens [b]) -> (carry, logits [b, v])`: it reads the token last written for each sequence and
gives unnormalised log-probabilities of the next one. The carry is any pytree of arrays whose first axis is the batch: a
recurrent state, a key-value cache, an encoder's outputs, or None. In beam search the step is given b * beams rows,
those of one example side by side; the carry is repeated to match.

Both functions here run a fixed number of steps under `lax.scan`, so they can be jitted, mapped and lowered.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from research.errors import UsageError

Step = Callable[[Any, jax.Array], tuple[Any, jax.Array]]


class Decoded(NamedTuple):
    """What was written; of beam search with an axis for the beams after the batch, the best first.

    `tokens` int32 [b, steps], without the start token, filled with the end token after the first one of those;
    `lengths` int32 [b], tokens up to and with the end token; `scores` float32 [b], log-probability, over the length
    penalty where there is one.
    """

    tokens: jax.Array
    lengths: jax.Array
    scores: jax.Array


def greedy(step: Step, carry: Any, start: jax.Array, end: int, steps: int) -> Decoded:
    """Write the likeliest token at each of `steps` steps, from the start tokens [b], until the end token.

    Raises:
        UsageError: there are no steps, or the start tokens are not [b].
    """
    _check(start, steps)

    def body(state: tuple, _: None) -> tuple[tuple, jax.Array]:
        """Write one token for each sequence that has not ended."""
        carry, token, ended, score, length = state
        carry, log_probabilities = _advance(step, carry, token)  # [b, v]
        token = jnp.where(ended, end, log_probabilities.argmax(axis=-1).astype(jnp.int32))
        score = score + jnp.where(ended, 0, log_probabilities.max(axis=-1))
        return (carry, token, ended | (token == end), score, length + ~ended), token

    zeros = jnp.zeros(start.shape)
    state = (carry, start.astype(jnp.int32), zeros > 0, zeros, zeros.astype(jnp.int32))
    (_, _, _, score, length), tokens = jax.lax.scan(body, state, length=steps)
    return Decoded(tokens.T, length, score)


def beam_search(
    step: Step,
    carry: Any,
    start: jax.Array,
    end: int | tuple[int, ...],
    steps: int,
    beams: int,
    length_penalty: float | jax.Array = 0.0,
) -> Decoded:
    """Keep the `beams` best beginnings at each of `steps` steps, from the start tokens [b]; return them, best first.

    A beginning is as good as its log-probability over ((5 + length) / 6) ** length_penalty, the end token counted in
    the length: Wu et al., "Google's neural machine translation system" (2016), equation 14, without the coverage
    penalty. Ended sequences keep their place as long as nothing better comes. With one beam this is `greedy`; with a
    beam for every sequence there is, it is exact. Where there are fewer sequences than beams, the rest score -inf. Of
    several end tokens the first one fills what comes after any of them.

    Raises:
        UsageError: there are no beams or steps, or the start tokens are not [b].
    """
    _check(start, steps)
    if beams < 1:
        raise UsageError(f"beam search needs at least one beam, not {beams}")
    (b,) = start.shape
    ends = (end,) if isinstance(end, int) else end

    def body(state: tuple, index: jax.Array) -> tuple[tuple, None]:
        """Extend each beam by every token and keep the best."""
        carry, last, tokens, log_probability, length = state
        ended = jnp.isin(last, jnp.array(ends)) & (index > 0)  # [b, k]; the start token may be the end token
        carry, following = _advance(step, carry, last.reshape(-1))
        v = following.shape[-1]
        following = following.reshape(b, beams, v)
        nothing = jnp.where(jnp.arange(v) == ends[0], 0.0, -jnp.inf)  # what an ended beam continues with, for free
        following = jnp.where(ended[..., None], nothing[None, None], following)
        candidates = log_probability[..., None] + following  # [b, k, v]
        longer = length + ~ended  # [b, k]
        scores = candidates / _penalty(longer, length_penalty)[..., None]
        _, best = jax.lax.top_k(scores.reshape(b, -1), beams)  # [b, k]
        parent, token = best // v, (best % v).astype(jnp.int32)
        rows = (jnp.arange(b)[:, None] * beams + parent).reshape(-1)  # [b k]
        carry = jax.tree.map(lambda leaf: leaf[rows], carry)
        tokens = jnp.take_along_axis(tokens, parent[..., None], axis=1).at[:, :, index].set(token)
        log_probability = jnp.take_along_axis(candidates.reshape(b, -1), best, axis=1)
        return (carry, token, tokens, log_probability, jnp.take_along_axis(longer, parent, axis=1)), None

    first = jnp.where(jnp.arange(beams) == 0, 0.0, -jnp.inf)  # all beams begin alike: only one of them may continue
    state = (
        jax.tree.map(lambda leaf: jnp.repeat(leaf, beams, axis=0), carry),
        jnp.repeat(start.astype(jnp.int32)[:, None], beams, axis=1),
        jnp.full((b, beams, steps), ends[0], jnp.int32),
        jnp.broadcast_to(first, (b, beams)),
        jnp.zeros((b, beams), jnp.int32),
    )
    (_, _, tokens, log_probability, length), _ = jax.lax.scan(body, state, jnp.arange(steps))
    return Decoded(tokens, length, log_probability / _penalty(length, length_penalty))


def _penalty(length: jax.Array, alpha: float | jax.Array) -> jax.Array:
    """Return what the log-probability of a sequence of that length is divided by."""
    return ((5.0 + length) / 6.0) ** alpha


def _advance(step: Step, carry: Any, tokens: jax.Array) -> tuple[Any, jax.Array]:
    """Return the carry and the log-probabilities after one step."""
    carry, logits = step(carry, tokens)
    return carry, jax.nn.log_softmax(logits.astype(jnp.float32))


def _check(start: jax.Array, steps: int) -> None:
    """Raise unless there is a start token for each sequence, and something to do."""
    if start.ndim != 1 or not jnp.issubdtype(start.dtype, jnp.integer):
        raise UsageError(f"start tokens must be integers [b], not {start.dtype} of shape {start.shape}")
    if steps < 1:
        raise UsageError(f"decoding needs at least one step, not {steps}")
