from functools import partial
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.errors import UsageError
from research.layers.sequences.alignment import Alignment, Scoring

SCORINGS = get_args(Scoring)
B, L, T, Q, M, A = 3, 5, 2, 7, 7, 11
generator = np.random.default_rng(0)
STATE = generator.normal(size=(B, Q)).astype(np.float32)
MEMORY = generator.normal(size=(B, L, M)).astype(np.float32)
MASK = np.array([[1, 1, 1, 0, 0], [1, 0, 1, 1, 1], [1, 1, 1, 1, 1]], bool)
close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


def apply(model, *inputs, **keywords):
    """What a model gives, compiled as one program."""
    return jax.jit(partial(model.apply, **keywords))(*inputs)


def layer(scoring, state=STATE, memory=MEMORY, **keywords):
    model = Alignment(scoring, Q if scoring == "general" else A, **keywords)
    return model, jax.jit(model.init)(jax.random.key(1), state, memory)


def by_hand(scoring, params, state, memory, mask):
    """The papers' formulas, one pair of state and output at a time, in float64."""
    kernel = {name: np.asarray(part["kernel"], np.float64) for name, part in params.get("params", {}).items()}
    contexts, weights = np.zeros((len(state), memory.shape[-1])), np.zeros(memory.shape[:2])
    for b, (s, outputs) in enumerate(zip(state.astype(np.float64), memory.astype(np.float64), strict=True)):
        scores = {}
        for j in np.flatnonzero(mask[b]):
            h = outputs[j]
            if scoring == "additive":
                scores[j] = kernel["score_layer"].T @ np.tanh(kernel["query_layer"].T @ s + kernel["key_layer"].T @ h)
            if scoring == "concat":
                w = np.concatenate([kernel["query_layer"], kernel["key_layer"]]).T
                scores[j] = kernel["score_layer"].T @ np.tanh(w @ np.concatenate([s, h]))
            if scoring == "dot":
                scores[j] = s @ h
            if scoring == "general":
                scores[j] = s @ kernel["key_layer"].T @ h
        total = sum(np.exp(score) for score in scores.values())
        for j, score in scores.items():
            weights[b, j] = np.exp(score).item() / np.sum(total)
            contexts[b] += weights[b, j] * outputs[j]
    return contexts, weights


@pytest.mark.parametrize("scoring", SCORINGS)
def test_context_and_weights_are_the_papers_formulas(scoring):
    model, params = layer(scoring)
    context, weights = apply(model, params, STATE, MEMORY, MASK)
    expected = by_hand(scoring, params, STATE, MEMORY, MASK)
    close(context, expected[0])
    close(weights, expected[1])
    close(weights.sum(-1), 1)
    assert not weights[~MASK].any()


@pytest.mark.parametrize("scoring", ["additive", "general", "concat"])
def test_memory_and_state_may_differ_in_width(scoring):
    memory = generator.normal(size=(B, L, 13)).astype(np.float32)
    model, params = layer(scoring, memory=memory)
    close(apply(model, params, STATE, memory, MASK)[0], by_hand(scoring, params, STATE, memory, MASK)[0])


@pytest.mark.parametrize("scoring", SCORINGS)
def test_several_states_at_once_are_each_alone_and_keys_may_be_kept(scoring):
    model, params = layer(scoring)
    states = generator.normal(size=(B, T, Q)).astype(np.float32)
    keys = apply(model, params, MEMORY, MASK, method="keys")
    context, weights = apply(model, params, states, MEMORY, MASK, keys)
    assert context.shape == (B, T, M) and weights.shape == (B, T, L)
    for t in range(T):
        alone = apply(model, params, states[:, t], MEMORY, MASK)
        close(context[:, t], alone[0])
        close(weights[:, t], alone[1])


@pytest.mark.parametrize("scoring", SCORINGS)
def test_what_is_masked_changes_nothing_and_all_masked_gives_zeros(scoring):
    model, params = layer(scoring)
    mask = MASK.copy()
    mask[1] = False

    def everything(memory):
        def loss(params, memory):
            context, weights = model.apply(params, STATE, memory, mask)
            return (context**2).sum() + (weights**2).sum(), (context, weights)

        return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(params, memory)

    clean, dirty = everything(MEMORY), everything(np.where(mask[..., None], MEMORY, np.nan))
    jax.tree.map(np.testing.assert_array_equal, clean, dirty)
    (_, (context, weights)), (_, to_memory) = clean
    assert not context[1].any() and not weights[1].any() and not to_memory[~mask].any()
    assert context[0].any() and weights[0].any()


def test_no_mask_is_a_mask_of_true():
    model, params = layer("additive")
    masked = apply(model, params, STATE, MEMORY, np.ones((B, L), bool))
    jax.tree.map(close, masked, apply(model, params, STATE, MEMORY))


@pytest.mark.parametrize("scoring", SCORINGS)
def test_the_order_of_the_memory_does_not_matter(scoring):
    model, params = layer(scoring)
    order = np.array([3, 0, 4, 1, 2])
    context, weights = apply(model, params, STATE, MEMORY, MASK)
    again, moved = apply(model, params, STATE, MEMORY[:, order], MASK[:, order])
    close(again, context)
    close(moved, weights[:, order])


def test_the_four_are_four_functions_with_as_many_parameters_as_the_formulas():
    counts = {}
    for scoring in SCORINGS:
        _, params = layer(scoring)
        counts[scoring] = sum(leaf.size for leaf in jax.tree.leaves(params))
    assert counts == {"additive": (Q + M + 1) * A, "dot": 0, "general": Q * M, "concat": (Q + M + 1) * A}


def test_concat_starts_as_one_matrix_of_both_widths():
    wide = np.zeros((1, 1, 400), np.float32)
    params = Alignment("concat", 300).init(jax.random.key(0), wide[0], wide)["params"]
    for name in ("query_layer", "key_layer"):
        np.testing.assert_allclose(np.var(params[name]["kernel"]), 1 / 800, rtol=0.03)


def test_bfloat16_keeps_the_weights_in_float32():
    model, params = layer("additive", dtype="bfloat16")
    context, weights = apply(model, params, STATE, MEMORY, MASK)
    assert context.dtype == jnp.bfloat16 and weights.dtype == jnp.float32
    np.testing.assert_allclose(context, by_hand("additive", params, STATE, MEMORY, MASK)[0], atol=0.05)


def test_sizes_that_do_not_fit_are_refused():
    with pytest.raises(UsageError, match=r"the mask must be \[3, 5\], as the memory is, not \[5, 3\]"):
        Alignment().init(jax.random.key(0), STATE, MEMORY, MASK.T)
    with pytest.raises(UsageError, match="dot attention multiplies a state of width 4 with 7: use general"):
        Alignment("dot").init(jax.random.key(0), STATE[:, :4], MEMORY)
    with pytest.raises(UsageError, match="general attention multiplies a state of width 7 with 4: set features"):
        Alignment("general", 4).init(jax.random.key(0), STATE, MEMORY)
