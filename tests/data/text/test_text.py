"""Windows of running text: each token once, and what is kept of a folder."""

import dataclasses

import jax
import numpy as np
import pytest

from research.data import Batches, LabelledText, Sentences, Text, Trained
from research.data.schema import Tokens
from research.data.text.text import SEPARATOR
from research.data.text.tokenizers import Bytes
from tests.data.text.reading import SPLITS, batches

PLAIN = {"bytes": 256, "characters": 40, "bpe": 300}


def numbered(value, n):
    """Return a raw batch of one long split whose tokens are 0, 1, 2 and so on."""
    starts = np.arange(0, n - 1, value.length)
    tokens = value._windows(np.pad(np.arange(n), (0, value._reach)), n)
    sizes = value._windows(np.pad(np.arange(n) % 3 + 1, (0, value._reach)), n)
    return {"tokens": tokens, "count": np.minimum(n - starts, value._reach).astype(np.int32), "sizes": sizes}


@pytest.mark.parametrize("tokenizer", PLAIN)
@pytest.mark.parametrize("jitter", [True, False])
def test_each_token_after_the_first_is_a_target_exactly_once(tokenizer, jitter, folder):
    value = Text(folder, tokenizer=Trained(tokenizer, PLAIN[tokenizer]), length=11, jitter=jitter)
    trained = value.trained()
    for split in SPLITS:
        text = SEPARATOR.join(value.texts(split))
        expected = trained.encode(text) if tokenizer != "bpe" else None
        read, targets, size = [], [], 0
        for batch in batches(value, split):
            assert batch["tokens"].shape == batch["targets"].shape == (7, 11)
            counts = (np.arange(11) < batch["lengths"][:, None]) & batch["mask"][:, None]
            read += batch["tokens"][counts].tolist()
            targets += batch["targets"][counts].tolist()
            size += batch["bytes"][batch["mask"]].sum()
        assert read[1:] == targets[:-1]
        tokens = [read[0], *targets]
        assert expected is None or tokens == expected
        assert len(dataclasses.replace(value, length=len(tokens) - 1).open(split)) == 1
        if tokenizer != "characters":
            assert trained.decode(tokens) == text
        (first,) = {"bytes": [1], "characters": [len(text[0].encode())]}.get(tokenizer, trained.sizes(text)[:1])
        assert size == len(text.encode()) - first
        assert {name: array.dtype for name, array in batch.items() if name not in ("mask", "row")} == dict.fromkeys(
            ("tokens", "targets", "lengths", "bytes"), np.int32
        )


def test_a_smaller_vocabulary_is_no_better_by_itself(folder):
    """Of the best unigram of two symbols: what is unknown is cheap to foretell and stands for no bytes."""
    bits = {}
    for size in (2, 40):
        value = Text(folder, tokenizer=Trained("characters", size), length=11, jitter=False)
        counts, known = np.zeros(size), 0
        for batch in batches(value, "train"):
            valid = (np.arange(11) < batch["lengths"][:, None]) & batch["mask"][:, None]
            counts += np.bincount(batch["targets"][valid], minlength=size)
            known += batch["bytes"][batch["mask"]].sum()
        probability = counts[counts > 0] / counts.sum()
        bits[size] = -counts.sum() * (probability * np.log2(probability)).sum() / known
        # The first token is no target.
        assert value.counts("train")["unknown"] - counts[0] in (0, 1) and (counts[0] > 0) == (size == 2)
    assert bits[2] > bits[40] > 3


def test_a_jittered_window_begins_anywhere_and_is_a_function_of_the_key():
    value, n = Text(tokenizer=Trained("bpe", 300), length=7), 38
    batch = numbered(value, n)
    run = jax.jit(value.preprocess)
    seen = set()
    for seed in range(60):
        out = jax.tree.map(np.asarray, run(batch, jax.random.key(seed)))
        for i in range(len(batch["count"])):
            start, counts = out["tokens"][i, 0], out["lengths"][i]
            assert 7 * i <= start < 7 * i + 7 and counts == min(7, n - 1 - start) >= 1
            np.testing.assert_array_equal(out["tokens"][i, :counts], start + np.arange(counts))
            np.testing.assert_array_equal(out["targets"][i, :counts], start + 1 + np.arange(counts))
            assert out["bytes"][i] == sum(t % 3 + 1 for t in range(start + 1, start + 1 + counts))
            seen.add(int(start))
    assert seen == set(range(n - 1))  # every window there is
    again = run(batch, jax.random.key(59))
    np.testing.assert_array_equal(again["tokens"], out["tokens"])
    assert len(set((out["tokens"][:, 0] % 7).tolist())) > 1  # each example has its own draw
    plain = run(batch)
    np.testing.assert_array_equal(plain["tokens"][:, 0], np.arange(0, n - 1, 7))
    still = Text(tokenizer=Trained("bpe", 300), length=7, jitter=False)
    same = still.preprocess(numbered(still, n), jax.random.key(0))
    for name, array in plain.items():
        np.testing.assert_array_equal(same[name], array)


@pytest.mark.parametrize(
    "value", [Text(length=11), Text(tokenizer=Trained("bpe", 70_000)), Sentences(length=9), LabelledText()]
)
def test_the_promised_shapes_are_those_opened(value, data_dir):
    spec, records = value.spec(), value.open("validation", data_dir)
    assert {name: (item.shape, np.dtype(item.dtype)) for name, item in spec.items()} == {
        name: (item.shape, np.dtype(item.dtype)) for name, item in records.spec.items()
    }
    batch = Batches(records, 5, 0).batch_at(3)
    for key in (None, jax.random.key(0)):
        out = jax.eval_shape(value.preprocess, batch, key)
        assert out["tokens"].shape == (5, value.length) and out["tokens"].dtype == np.int32
    assert value.schema().entries["tokens"] == Tokens(value.vocabulary_size)


def test_what_separates_documents_is_known_where_no_document_has_it(tmp_path):
    for i in range(12):
        (tmp_path / f"{i}.txt").write_text("one line " * (i + 1))
    value = Text(str(tmp_path), tokenizer=Trained("characters", 20))
    assert value.trained().decode(value.trained().encode(SEPARATOR)) == SEPARATOR


def test_a_folder_is_read_and_encoded_once_until_it_changes(tmp_path, monkeypatch):
    """By all splits, and by what stands beside every trial of a study."""
    for i in range(12):
        (tmp_path / f"{i:02}.txt").write_text(f"text number {i}, once\n")
    encoded, ids = [], Bytes.ids

    def counted(tokenizer, text):
        encoded.append(text)
        return ids(tokenizer, text)

    monkeypatch.setattr(Bytes, "ids", counted)
    value = Text(str(tmp_path), length=7)
    for _ in range(3):
        for split in SPLITS:
            value.open(split)
        files = value.files()
    text = {split: SEPARATOR.join(value.texts(split)) for split in SPLITS}
    assert "".join(encoded) == "".join(text.values())
    tokens = value.open("train").arrays()["tokens"]
    assert tokens.base is not None and tokens.dtype == np.uint8  # windows overlap, and are views of the same bytes
    (tmp_path / "03.txt").write_text("another text, twice as long as before it was changed\n")
    assert value.files() != files and sum(len(value.texts(split)) for split in SPLITS) == 12
    assert "another" in "".join(encoded)
