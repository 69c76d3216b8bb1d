"""Hidden spans beside the procedure of T5 written down in plain Python, and what the paper says of them."""

import collections
import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.data import Batches
from research.layers.sequences.spans import Counts, corrupt_spans, hide
from research.tokens import END, START
from tests.families import SPANS

L, V = 40, 100


def by_hand(tokens, hidden, vocabulary):
    """The pair of a text, token by token."""
    source, target, spans = [], [], 0
    for index, (token, is_hidden) in enumerate(zip(tokens, hidden, strict=True)):
        if is_hidden and not (index and hidden[index - 1]):
            spans += 1
            source.append(vocabulary - spans)
            target.append(vocabulary - spans)
        (target if is_hidden else source).append(token)
    return [*source, END], [*target, END]


def test_so_many_tokens_and_spans_are_hidden_as_in_the_paper():
    """Of 512 tokens at 15 % and spans of 3, 26 spans of 77 tokens (Raffel et al., code: `random_spans_helper`)."""
    counts = Counts.of(512, 0.15, 3.0)
    for n in range(2, 513):
        hidden = min(max(round(n * 0.15), 1), n - 1)
        assert (counts.hidden[n], counts.spans[n]) == (hidden, max(round(hidden / 3.0), 1))
    assert (counts.hidden[512], counts.spans[512], counts.source_length, counts.target_length) == (77, 26, 462, 104)
    dense = Counts.of(20, 0.9, 1.0)
    assert all(s <= min(h, n - h) for n, (h, s) in enumerate(zip(*dense, strict=True)) if n > 1)


@pytest.fixture(scope="module")
def corrupted():
    """Texts of every length from 2 on, which spans of them are hidden, and the pairs."""
    counts, lengths = Counts.of(L, 0.3, 2.0), np.repeat(np.arange(2, L + 1), 3)
    tokens = np.random.default_rng(0).integers(5, 70, (len(lengths), L))
    keys = jax.random.split(jax.random.key(1), len(lengths))

    @jax.jit
    def run(tokens, lengths):
        hidden = jax.vmap(hide, (0, 0, None, None))(keys, lengths, L, counts)
        return hidden, corrupt_spans({"tokens": tokens, "lengths": lengths}, keys, counts=counts, vocabulary=V)

    return counts, tokens, lengths, *jax.device_get(run(jnp.asarray(tokens), jnp.asarray(lengths)))


def test_pairs_are_those_made_by_hand(corrupted):
    _, tokens, lengths, hidden, batch = corrupted
    for row, n in enumerate(lengths):
        source, target = by_hand(tokens[row, :n].tolist(), hidden[row, :n].tolist(), V)
        for name, count, expected in (("tokens", "lengths", source), ("labels", "label_lengths", target)):
            assert batch[count][row] == len(expected)
            assert batch[name][row].tolist() == expected + [0] * (batch[name].shape[1] - len(expected))
        assert batch["targets"][row, : len(target)].tolist() == [START, *target[:-1]]
        assert not batch["targets"][row, len(target) :].any()


def test_what_is_hidden_begins_within_the_text_and_ends_it(corrupted):
    counts, _, lengths, hidden, batch = corrupted
    for row, n in enumerate(lengths):
        begins = hidden[row] & ~np.pad(hidden[row, :-1], (1, 0))
        assert (hidden[row].sum(), begins.sum()) == (counts.hidden[n], counts.spans[n])
        assert not hidden[row, 0] and hidden[row, n - 1] and not hidden[row, n:].any()
    assert (batch["tokens"].shape[1], batch["labels"].shape[1]) == (counts.source_length, counts.target_length)


def test_any_spans_are_equally_likely():
    """8 tokens of which 4 are hidden in 2 spans: 3 ways to cut either half, so 9 pairs, each a ninth of the draws."""
    counts, draws = Counts.of(8, 0.5, 2.0), 1800
    run = jax.jit(jax.vmap(lambda key: hide(key, jnp.int32(8), 8, counts)))
    found = collections.Counter(
        tuple(row) for row in np.asarray(run(jax.random.split(jax.random.key(0), draws))).tolist()
    )
    assert len(found) == 9
    assert sum((count - draws / 9) ** 2 / (draws / 9) for count in found.values()) < 26.1  # chi square of 8, p = 0.001


def test_every_step_hides_anew_and_an_evaluation_the_same(data_dir):
    records = SPANS.open("train", data_dir)
    assert not (np.asarray(records.arrays()["tokens"]) == END).any()  # so that an end is the end
    raw = Batches(records, 6, 0).batch_at(3)
    run = jax.jit(SPANS.preprocess)
    first, second = (run(raw, jax.random.key(seed)) for seed in (0, 1))
    assert (np.asarray(first["tokens"]) != np.asarray(second["tokens"])).any()
    turned = {name: np.asarray(entry)[::-1] for name, entry in raw.items()}
    for name, entry in run(raw).items():
        np.testing.assert_array_equal(entry, np.asarray(run(turned)[name])[::-1])
    assert SPANS.vocabulary_size == 300 + 2
    counts = SPANS.counts("train", data_dir)
    assert counts["tokens"] == int(np.asarray(records.arrays()["lengths"]).sum()) and counts["windows"] == len(records)
    dense = dataclasses.replace(SPANS, span=1.0)
    assert dense.vocabulary_size > SPANS.vocabulary_size
