"""Decoding with a cache writes what recomputation writes."""

from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.errors import UsageError
from research.layers.sequences.decoding import beam_search, greedy
from research.layers.sequences.positions import Positions
from research.models.text.transformer_seq2seq import TransformerSeq2Seq
from tests.models.text.small_transformers import LENGTHS, LM, MODELS, TOKENS, close, inputs, randomized


def written(model, variables, name):
    """A cache, what is to be decoded with it, and the logits after the prompt and after each token, without a cache."""
    if name == "seq2seq":
        batch = inputs(name, lengths=True)
        cache = model.apply(variables, batch, 7, method="start")
        return cache, batch["targets"], None, model.apply(variables, batch)
    lengths, rows = np.array([2, 4, 1]), np.arange(3)[:, None]
    cache, logits = model.apply(variables, {"tokens": TOKENS[:, :4], "lengths": lengths}, 7, method="start")
    next_ones = lengths[:, None] + np.arange(-1, 3)[None]
    return cache, TOKENS[rows, next_ones[:, 1:]], logits, model.apply(variables, TOKENS)[rows, next_ones]


@pytest.mark.parametrize(
    "name, positions",
    [
        *(("language_model", positions) for positions in get_args(Positions)),
        ("seq2seq", "relative"),
        ("seq2seq", "rotary"),
    ],
)
def test_cached_decoding_equals_full_recomputation_at_every_position(name, positions):
    """Of an encoder-decoder in a loop and not: its decoder knows positions as a language model does."""
    scan = (positions in ("none", "learned", "relative")) == (name == "seq2seq")
    options = {"window": 2, "key_value_heads": 1, "head_width": 8, "norm": "rmsnorm"} if scan else {}
    model = MODELS[name].clone(positions=positions, scan=scan, width=18, **options)
    variables = randomized(model, inputs(name))
    cache, tokens, logits, expected = jax.jit(lambda v: written(model, v, name))(variables)
    if name == "language_model":
        close(logits, expected[:, 0])
        expected = expected[:, 1:]
    assert {leaf.shape[0] for leaf in jax.tree.leaves(cache)} == {3}
    step = jax.jit(lambda cache, token: model.apply(variables, cache, token, method="step"))
    for index in range(tokens.shape[1]):
        cache, logits = step(cache, tokens[:, index])
        close(logits, expected[:, index])


def test_a_full_cache_says_so():
    model = LM.bind(randomized(LM, TOKENS))

    @jax.jit
    def write(tokens):
        cache, _ = model.start({"tokens": tokens[:, :4], "lengths": np.array([2, 4, 3])}, 5)
        return model.extend(cache, tokens[:, :2])[1]

    logits = write(TOKENS)
    np.testing.assert_array_equal(np.isnan(logits).all(-1), [[False, False], [False, True], [False, False]])
    with pytest.raises(UsageError, match="prompts of 7 tokens do not fit a cache with a capacity of 6"):
        model.start(TOKENS, 6)
    for learned in (
        LM.clone(positions="learned", max_length=9),
        MODELS["seq2seq"].clone(positions="learned", max_length=9),
    ):
        name = "seq2seq" if isinstance(learned, TransformerSeq2Seq) else "language_model"
        with pytest.raises(UsageError, match="10 positions is longer than the learned ones, max_length=9"):
            learned.bind(randomized(learned, inputs(name))).start(TOKENS, 10)


def test_greedy_and_beam_search_write_what_recomputation_writes():
    model = MODELS["seq2seq"].clone(layers=1)
    batch = {"tokens": TOKENS, "lengths": LENGTHS}
    variables, start = randomized(model, inputs("seq2seq"), scale=0.7), jnp.zeros(3, jnp.int32)

    @jax.jit
    def write(variables):
        bound = model.bind(variables)
        cache = bound.start(batch, 4)
        return greedy(bound.step, cache, start, 1, 4), beam_search(bound.step, cache, start, 1, 4, beams=3)

    found, beams = write(variables)
    recompute = jax.jit(lambda targets: model.apply(variables, {**batch, "targets": targets}))
    targets = np.zeros((3, 1), int)
    for _ in range(4):
        length = targets.shape[1]
        logits = recompute(np.pad(targets, ((0, 0), (0, 4 - length))))[:, length - 1]
        targets = np.concatenate([targets, logits.argmax(-1)[:, None]], axis=1)
    for row, length, expected in zip(found.tokens, found.lengths, targets[:, 1:], strict=True):
        np.testing.assert_array_equal(row[:length], expected[:length])
    assert (beams.scores[:, 0] >= found.scores - 1e-4).all()
