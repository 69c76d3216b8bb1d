"""Packed windows hold every token of every text once, each text by itself, in as few windows as fit."""

import dataclasses
import itertools

import numpy as np
import pytest

from experiments.baselines.ngrams import NGrams
from research.data import Text, Trained, evaluation_batches
from research.data.text.packing import lay, numbers, pack
from research.errors import UsageError
from tests.families import PACKED

SIZE = 7
LENGTHS = (1, 2, 3, 30, 8, 8, 5, 1, 9, 2, 4, 15)


@pytest.fixture(scope="module")
def ends():
    return np.cumsum(LENGTHS).tolist()


def texts_of(tokens, targets, documents):
    """The pieces in windows, each as its first token and all targets."""
    for row in range(len(tokens)):
        for number in range(1, documents[row].max() + 1):
            (here,) = np.nonzero(documents[row] == number)
            assert (np.diff(here) == 1).all() and (tokens[row, here[1:]] == targets[row, here[:-1]]).all()
            yield [tokens[row, here[0]], *targets[row, here]]


def test_no_token_is_lost_or_there_twice(ends):
    starts, values = [0, *ends[:-1]], np.arange(100, 100 + ends[-1])
    pieces = pack(starts, ends, SIZE)
    assert pieces == pack(starts, ends, SIZE)
    documents = numbers(pieces, SIZE)
    found = sorted(texts_of(lay(values, pieces, SIZE), lay(values, pieces, SIZE, shift=1), documents))
    expected = [
        values[begin : min(begin + SIZE + 1, end)].tolist()
        for start, end in zip(starts, ends, strict=True)
        for begin in range(start, end - 1, SIZE)
    ]
    assert found == sorted(expected)
    # Whoever is placed, no two windows have room for each other.
    counts = (documents > 0).sum(axis=1)
    assert (
        counts.sum() == sum(n - 1 for n in LENGTHS)
        and (counts == (np.cumsum(documents == 0, axis=1) == 0).sum(1)).all()
    )
    assert np.sort(counts)[:2].sum() > SIZE


def test_a_piece_goes_where_the_least_room_holds_it():
    """Of 5, 4, 2, 1 in windows of 7: 5 with 2, 4 with 1."""
    pieces = pack([0, 6, 11, 14], [6, 11, 14, 16], SIZE)
    assert [(piece.length, piece.window, piece.place) for piece in pieces] == [
        (5, 0, 0),
        (4, 1, 0),
        (2, 0, 5),
        (1, 1, 4),
    ]
    assert numbers(pieces, SIZE).tolist() == [[1, 1, 1, 1, 1, 2, 2], [1, 1, 1, 1, 2, 0, 0]]


def test_a_batch_holds_the_texts_as_they_are_encoded(data_dir):
    for value in (PACKED, dataclasses.replace(PACKED, tokenizer=Trained("bytes", 256))):
        plain, size, found = dataclasses.replace(value, packed=False), 0, []
        for raw in evaluation_batches(value.open("test", data_dir), 16):
            batch = {name: np.asarray(entry)[raw["mask"]] for name, entry in value.preprocess(raw).items()}
            found += texts_of(batch["tokens"], batch["targets"], batch["documents"])
            assert (batch["lengths"] == (batch["documents"] > 0).sum(axis=1)).all()
            size += batch["bytes"].sum()
        encoded, tokenizer = plain._encoded("test", data_dir), value.trained(data_dir)
        bounds = [*encoded.starts, encoded.length]
        pieces = [
            encoded.tokens[begin : min(begin + value.length + 1, end)].tolist()
            for start, end in itertools.pairwise(bounds)
            for begin in range(start, end - 1, value.length)
        ]
        assert sorted(found) == sorted(pieces)
        firsts = [tokenizer.decode([encoded.tokens[start]]) for start in encoded.starts]
        assert size == encoded.bytes - sum(len(first.encode()) for first in firsts)
        counts = value.counts("test", data_dir)
        assert counts["windows"] * value.length - counts["padding"] == sum(len(piece) - 1 for piece in pieces)


def test_jitter_is_refused():
    with pytest.raises(UsageError, match="set data.jitter=False"):
        Text(packed=True).spec()


def test_ngrams_of_packed_windows_are_those_of_the_texts_alone():
    """Counted and foretold as where each text has a window of its own."""
    rng = np.random.default_rng(0)
    starts, ends, values = (0, 5, 12, 15), (5, 12, 15, 19), rng.integers(0, 4, 19)
    fields = ("tokens", "targets", "documents")

    def windows(pieces):
        entries = (lay(values, pieces, 8), lay(values, pieces, 8, shift=1), numbers(pieces, 8))
        return dict(zip(fields, entries, strict=True)) | {"lengths": (entries[2] > 0).sum(axis=1)}

    pieces = pack(starts, ends, 8)
    packed, alone = windows(pieces), windows([p._replace(window=i, place=0) for i, p in enumerate(pieces)])
    assert len(packed["tokens"]) < len(alone["tokens"])
    fitted = [NGrams(4, 4).fit(shown, {}, 0) for shown in (packed, alone)]
    assert len(fitted[0].levels) == 4
    expected = fitted[1].predict(alone)["log_probability"]
    found = fitted[0].predict(packed)["log_probability"]
    for index, piece in enumerate(pieces):
        here = found[piece.window, piece.place : piece.place + piece.length]
        np.testing.assert_allclose(here, expected[index, : piece.length], rtol=1e-12)
