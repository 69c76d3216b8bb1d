"""Pairs of sentences, and which words are hidden."""

import jax
import numpy as np
import pytest

from research.data import Records, Sentences, Trained
from research.data.text.sentences import sentences
from research.tokens import END, MASK, SPECIAL, START
from tests.data.text.reading import SPLITS


def test_sentences_end_at_their_marks():
    text = "It is 3.5 m. Is it?  Yes!\nA list:\n\n  one\n  two\n\n---\n\nEnd"
    assert sentences(text) == ["It is 3.5 m.", "Is it?", "Yes!", "A list:", "one two", "End"]


def test_every_second_sentence_comes_from_another_document(folder, tmp_path):
    for i in range(40):
        (tmp_path / f"{i:02}.txt").write_text(" ".join(f"d{i}s{j}." for j in range(2 + i % 3)))
    value = Sentences(str(tmp_path), tokenizer=Trained("bytes", 261), length=20)
    follows = []
    for split in SPLITS:
        arrays = value.open(split).arrays()
        np.testing.assert_array_equal(arrays["index"], np.arange(len(arrays["index"])))
        drawn = set()
        for tokens, segments, length, follow in zip(
            arrays["tokens"].tolist(), arrays["segments"], arrays["lengths"], arrays["next"], strict=True
        ):
            first_end = tokens.index(END)
            assert tokens[0] == START and tokens[length - 1] == END and not any(tokens[length:])
            np.testing.assert_array_equal(segments, (np.arange(20) > first_end) & (np.arange(20) < length))
            parts = [
                bytes(i - SPECIAL for i in part).decode()
                for part in (tokens[1:first_end], tokens[first_end + 1 : length - 1])
            ]
            (d, s), (e, t) = (map(int, part.strip("d.").split("s")) for part in parts)
            assert (d, s + 1) == (e, t) if follow else d != e
            drawn.add((e, t))
            follows.append(follow)
    assert set(follows) == {0, 1} and abs(np.mean(follows) - 0.5) < 0.03


@pytest.mark.parametrize(
    ("a", "b", "expected"), [(3, 4, (3, 4)), (9, 2, (5, 2)), (2, 9, (2, 5)), (9, 9, (4, 3)), (5, 4, (4, 3))]
)
def test_the_longer_sentence_is_cut_first(a, b, expected):
    from research.data.text.sentences import Pair

    value = Sentences(length=10)
    first, second = value._fit(Pair(list(range(a)), list(range(b)), True))
    assert (len(first), len(second)) == expected and first == list(range(len(first)))


def test_masking_depends_on_the_example_and_the_key_alone(data_dir):
    value = Sentences(tokenizer=Trained("bytes", 261), length=48)
    raw = Records.of({name: array[-400:] for name, array in value.open("test", data_dir).arrays().items()})
    run = jax.jit(value.preprocess)
    whole = jax.tree.map(np.asarray, run(raw.arrays()))
    rows = np.array([11, 399, 3])
    for name, array in run(raw[rows]).items():
        np.testing.assert_array_equal(array, whole[name][rows])
    trained = jax.tree.map(np.asarray, run(raw.arrays(), jax.random.key(1)))
    part = run(raw[rows], jax.random.key(1))
    np.testing.assert_array_equal(part["tokens"], trained["tokens"][rows])
    assert (trained["predicted"] != whole["predicted"]).mean() > 0.1

    counts = np.arange(48) < whole["lengths"][:, None]
    eligible = counts & (whole["targets"] >= SPECIAL)
    assert not whole["predicted"][~eligible].any()
    np.testing.assert_array_equal(whole["targets"], raw.arrays()["tokens"])
    for found, among, expected in (
        (whole["predicted"], eligible, 0.15),
        (whole["predicted"] & (whole["tokens"] == MASK), whole["predicted"], 0.8),
        (whole["predicted"] & (whole["tokens"] == whole["targets"]), whole["predicted"], 0.1),
    ):
        assert abs(found.sum() / among.sum() - expected) < 4 * np.sqrt(expected / among.sum())
