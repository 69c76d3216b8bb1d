import hashlib

import numpy as np
import pytest

from research.data import FromFile, Pairs, Text, Trained
from research.errors import UsageError
from research.experiment import from_json, to_json


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("texts")
    (root / "text.txt").write_text("abc cab bca\n" * 40)
    return str(root)


def kept(value, path, **changes):
    """Return what reads the tokenizer that a run of `value` writes."""
    content = value.files()["tokenizer.json"].encode()
    path.write_bytes(content)
    fields = {"sha256": hashlib.sha256(content).hexdigest(), "vocabulary_size": value.vocabulary_size, **changes}
    return FromFile(str(path), **fields)


@pytest.mark.parametrize("kind", ["bytes", "characters", "bpe"])
def test_the_file_of_a_run_gives_the_tokens_of_that_run(kind, folder, tmp_path):
    trained = Text(folder, tokenizer=Trained(kind, 280), length=7)
    read = Text(folder, tokenizer=kept(trained, tmp_path / "tokenizer.json"), length=7)
    assert read.trained() == trained.trained() and from_json(to_json(read)) == read
    for split in ("train", "validation"):
        found, expected = (value.open(split)[np.arange(3)] for value in (read, trained))
        assert all(np.array_equal(found[name], expected[name]) for name in expected)


def test_it_reads_other_text_than_it_was_trained_on(folder, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "text.txt").write_text("xyz cab\n" * 60)
    other = Text(str(tmp_path / "other"), tokenizer=Trained("characters", 20), length=7)
    first = Text(folder, tokenizer=Trained("characters", 20), length=7)
    moved = Text(other.name, tokenizer=kept(first, tmp_path / "tokenizer.json"), length=7)
    assert moved.trained() == first.trained() != other.trained()
    assert moved.trained().decode(moved.trained().encode("xa")) == "\ufffda"


def test_where_it_lies_is_no_part_of_the_value(folder, tmp_path):
    one = kept(Text(folder, tokenizer=Trained("characters", 9), length=7), tmp_path / "tokenizer.json")
    elsewhere = FromFile("elsewhere.json", one.sha256, one.vocabulary_size)
    assert one == elsewhere and hash(one) == hash(elsewhere) and one != FromFile(one.file, one.sha256, 10)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"sha256": "f00d"}, "is another file than its sha256 says: its digest is"),
        ({"vocabulary_size": 3}, "token ids: set vocabulary_size to that"),
    ],
)
def test_a_file_that_is_not_meant_is_refused(folder, tmp_path, changes, said):
    value = Text(folder, tokenizer=Trained("characters", 20), length=7)
    with pytest.raises(UsageError, match=said):
        Text(folder, tokenizer=kept(value, tmp_path / "tokenizer.json", **changes), length=7).trained()


def test_a_file_that_is_none_or_of_other_data_is_refused(folder, tmp_path):
    damaged = tmp_path / "damaged.json"
    damaged.write_text("{")
    digest = hashlib.sha256(damaged.read_bytes()).hexdigest()
    plain = kept(Text(folder, tokenizer=Trained("characters", 20), length=7), tmp_path / "tokenizer.json")
    for value, said in (
        (FromFile(str(damaged), digest, 20), r"damaged\.json is no tokenizer\.json of a run"),
        (FromFile(str(tmp_path / "none.json"), digest, 20), r"cannot read .*none\.json: No such file"),
    ):
        with pytest.raises(UsageError, match=said):
            Text(folder, tokenizer=value, length=7).trained()
    with pytest.raises(UsageError, match="has no ids for starts and ends of texts"):
        Pairs(source_tokenizer=plain).trained()


def test_tokens_that_leave_something_out_are_refused_for_running_text(folder):
    for kind in ("words", "wordpiece"):
        with pytest.raises(UsageError, match=f'tokens of a text must hold all of it: "{kind}" is not one of bytes'):
            Text(folder, tokenizer=Trained(kind, 300)).spec()
