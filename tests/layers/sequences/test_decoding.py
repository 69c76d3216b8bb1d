import itertools
from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.errors import UsageError
from research.layers.sequences.decoding import beam_search, greedy

V, END, STEPS, B, WIDTH = 3, 2, 4, 5, 7
generator = np.random.default_rng(0)
EMBED, MIX, HEAD = (generator.normal(size=shape) for shape in ((V, WIDTH), (WIDTH, WIDTH), (WIDTH, V)))
CARRY = {"state": jnp.asarray(generator.normal(size=(B, WIDTH)), jnp.float32), "steps": jnp.zeros(B, jnp.int32)}
START = jnp.array([0, 1, 0, 1, 0])
close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


def step(carry, tokens):
    """A small recurrent model, so that what comes next depends on all that came before."""
    embed, mix, head = (jnp.float32(array) for array in (EMBED, MIX, HEAD))
    state = jnp.tanh(carry["state"] @ mix + embed[tokens])
    return {"state": state, "steps": carry["steps"] + 1}, state @ head


def log_probability(row, tokens):
    """Of a sequence after its start token, in float64 numpy."""
    state, last, total = np.asarray(CARRY["state"][row], np.float64), int(START[row]), 0.0
    for token in tokens:
        state = np.tanh(state @ MIX + EMBED[last])
        logits = state @ HEAD
        total += logits[token] - np.log(np.exp(logits).sum())
        last = token
    return total


def every_sequence():
    """All that can be written: up to the first end token, or STEPS tokens without one."""
    for length in range(1, STEPS + 1):
        for body in itertools.product([token for token in range(V) if token != END], repeat=length - 1):
            yield (*body, END)
    yield from itertools.product([token for token in range(V) if token != END], repeat=STEPS)


def score(row, tokens, alpha):
    return log_probability(row, tokens) / ((5 + len(tokens)) / 6) ** alpha


def test_greedy_takes_the_likeliest_token_at_each_step():
    found = jax.jit(partial(greedy, step, end=END, steps=STEPS))(CARRY, START)
    assert found.tokens.shape == (B, STEPS) and found.tokens.dtype == found.lengths.dtype == jnp.int32
    for row in range(B):
        written = []
        while len(written) < STEPS and END not in written:
            written.append(max(range(V), key=lambda token, row=row: log_probability(row, [*written, token])))
        assert found.lengths[row] == len(written)
        assert found.tokens[row].tolist() == written + [END] * (STEPS - len(written))
        close(found.scores[row], log_probability(row, written))
    assert len(set(found.lengths.tolist())) > 1


@pytest.mark.parametrize("alpha", [0.0, 0.7, 2.0])
def test_with_a_beam_for_every_sequence_the_search_is_exhaustive(alpha):
    everything = list(every_sequence())
    beams = len(everything) + 2
    found = jax.jit(partial(beam_search, step, end=END, steps=STEPS, beams=beams))(CARRY, START, length_penalty=alpha)
    for row in range(B):
        ranked = sorted(everything, key=lambda tokens, row=row: -score(row, tokens, alpha))
        close(found.scores[row, : len(everything)], [score(row, tokens, alpha) for tokens in ranked])
        assert np.isneginf(found.scores[row, len(everything) :]).all()
        for place, tokens in enumerate(ranked[:5]):
            assert found.tokens[row, place].tolist() == [*tokens, *[END] * (STEPS - len(tokens))]
            assert found.lengths[row, place] == len(tokens)


@pytest.mark.parametrize("alpha", [0.0, 1.0])
def test_one_beam_is_greedy(alpha):
    one = beam_search(step, CARRY, START, END, 11, beams=1, length_penalty=alpha)
    expected = greedy(step, CARRY, START, END, 11)
    np.testing.assert_array_equal(one.tokens[:, 0], expected.tokens)
    np.testing.assert_array_equal(one.lengths[:, 0], expected.lengths)
    close(one.scores[:, 0], expected.scores / ((5 + expected.lengths) / 6) ** alpha)


def test_narrow_beams_are_sorted_distinct_and_true_to_their_tokens():
    alpha, beams = 0.6, 4
    found = beam_search(step, CARRY, START, END, STEPS, beams, alpha)
    assert (np.diff(found.scores, axis=1) <= 0).all()
    for row in range(B):
        written = [tuple(found.tokens[row, k, : found.lengths[row, k]].tolist()) for k in range(beams)]
        assert len(set(written)) == beams
        close(found.scores[row], [score(row, tokens, alpha) for tokens in written])


def test_beam_search_scores_no_less_than_greedy_here():
    best = greedy(step, CARRY, START, END, STEPS).scores
    found = beam_search(step, CARRY, START, END, STEPS, beams=4).scores[:, 0]
    assert (found >= best - 1e-6).all()


def test_two_beams_find_what_greed_misses():
    table = jnp.log(jnp.array([[0, 0.55, 0.45, 0], [0, 0.5, 0, 0.5], [0, 0, 0, 1], [0, 0, 0, 1.0]]))
    markov = lambda carry, tokens: (carry, table[tokens])  # noqa: E731
    start = jnp.array([0])
    close(greedy(markov, None, start, 3, 2).scores, [np.log(0.55 * 0.5)])
    found = beam_search(markov, None, start, 3, 2, beams=2)
    assert found.tokens[0, 0].tolist() == [2, 3]
    close(found.scores[0], np.log([0.45, 0.55 * 0.5]))


def test_the_length_penalty_favours_longer_sequences_and_is_an_argument():
    search = partial(beam_search, step, CARRY, START, END, STEPS, 26)
    traced = jax.jit(chex.assert_max_traces(lambda alpha: search(alpha), n=1))
    lengths = [traced(alpha).lengths[:, 0] for alpha in (0.0, 1.0, 4.0)]
    assert (lengths[0] <= lengths[1]).all() and (lengths[1] <= lengths[2]).all() and (lengths[0] < lengths[2]).any()
    together = jax.vmap(search)(jnp.array([0.0, 1.0, 4.0]))
    np.testing.assert_array_equal(together.lengths[:, :, 0], lengths)


def test_the_start_token_may_be_the_end_token():
    start = jnp.full(B, END)
    one, expected = beam_search(step, CARRY, start, END, 5, 1), greedy(step, CARRY, start, END, 5)
    np.testing.assert_array_equal(one.tokens[:, 0], expected.tokens)
    assert (expected.lengths > 1).any()


def test_decoding_needs_no_carry_and_lowers_for_every_device():
    table = jnp.float32(generator.normal(size=(V, V)))
    stateless = lambda carry, tokens: (carry, table[tokens])  # noqa: E731
    assert greedy(stateless, None, START, END, 3).tokens.shape == (B, 3)
    for search in (greedy, partial(beam_search, beams=2)):
        traced = jax.jit(partial(search, step, end=END, steps=STEPS)).trace(CARRY, START)
        assert all(traced.lower(lowering_platforms=(name,)) for name in ("cpu", "cuda", "tpu"))


def test_what_cannot_be_decoded_is_refused():
    with pytest.raises(UsageError, match=r"start tokens must be integers \[b\], not int32 of shape \(5, 1\)"):
        greedy(step, CARRY, START[:, None], END, 3)
    with pytest.raises(UsageError, match=r"start tokens must be integers \[b\], not float32"):
        greedy(step, CARRY, jnp.float32(START), END, 3)
    with pytest.raises(UsageError, match="decoding needs at least one step, not 0"):
        beam_search(step, CARRY, START, END, 0, 2)
    with pytest.raises(UsageError, match="beam search needs at least one beam, not 0"):
        beam_search(step, CARRY, START, END, 3, 0)


def test_any_of_several_end_tokens_ends_a_sequence():
    """With a beam for every sequence there is, and the first end token behind each of them."""
    written = [(0,) * length + end for length in range(STEPS) for end in ((1,), (2,))] + [(0,) * STEPS]
    found = jax.jit(partial(beam_search, step, end=(2, 1), steps=STEPS, beams=len(written)))(CARRY, START)
    for row in range(B):
        best = sorted(written, key=lambda tokens, row=row: -log_probability(row, tokens))
        close(found.scores[row], [log_probability(row, tokens) for tokens in best])
        assert found.lengths[row].tolist() == [len(tokens) for tokens in best]
        assert found.tokens[row].tolist() == [[*tokens, *(STEPS - len(tokens)) * [2]] for tokens in best]
