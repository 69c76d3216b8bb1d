"""Documents: where they are read, how they are split, and what is said of those that cannot be."""

import json
from pathlib import Path

import numpy as np
import pytest

from research.data import LabelledText, Sentences, Text, Trained
from research.data.storage.folders import split_texts
from research.data.text.text import SEPARATOR
from research.errors import UsageError
from tests.data.text.reading import SPLITS, refused


@pytest.mark.parametrize("tokenizer", ["characters", "bpe", "wordpiece", "words"])
def test_the_tokenizer_sees_the_training_split_alone(tokenizer, tmp_path):
    value = Sentences(str(tmp_path), tokenizer=Trained(tokenizer, 280))
    for i in range(12):
        (tmp_path / f"{i:02}.txt").write_text(f"common words {i}")
    before = value.trained()
    held_out = {text for split in ("validation", "test") for text in value.texts(split)}
    for file in tmp_path.iterdir():
        if file.read_text() in held_out:
            file.write_text(f"unheard unheard unheard of ξένος {file.stem}")
    assert value.trained() == before
    assert len(held_out) == 2


def test_files_are_split_whole_or_cut_at_lines():
    texts = [f"text {i}\n" for i in range(23)]
    parts = {split: split_texts(texts, split, "folder") for split in SPLITS}
    assert [len(part) for part in parts.values()] == [19, 2, 2]
    assert sorted(sum(parts.values(), ())) == sorted(texts)
    assert {split: split_texts([*texts, *texts[:13], ""], split, "folder") for split in SPLITS} == parts
    few = ["one\ntwo\n", "", "three\n" * 30, "four\nfive\nsix\nseven\n"]
    cut = [split_texts(few, split, "folder") for split in SPLITS]
    assert "".join(text for part in cut for text in part) == "".join(few)
    assert all(text.endswith("\n") for part in cut for text in part) and [len(part) for part in cut] == [2, 1, 1]
    assert [round(sum(map(len, part)) / 208, 1) for part in cut] == [0.8, 0.1, 0.1]
    with pytest.raises(UsageError, match="texts of my/folder have too few lines and leave the test split empty"):
        split_texts(["a single line"], "test", "my/folder")


def test_a_folder_that_cannot_be_read_says_why(tmp_path):
    def message(value, action="open"):
        with pytest.raises(UsageError) as caught:
            value.open("train") if action == "open" else value.spec()
        return str(caught.value)

    assert message(Text(f"{tmp_path}/none")) == f"there is no folder {tmp_path}/none"
    assert message(Text(str(tmp_path))) == f"{tmp_path} has no text files (.txt, .md, .rst, .py)"
    (tmp_path / "a.md").write_text("fine")
    assert message(Text(f"{tmp_path}/a.md")) == f"{tmp_path}/a.md is a file; name the folder that it is in"
    (tmp_path / "b.txt").write_bytes("né".encode() + b"\xe9 latin")
    assert message(Text(str(tmp_path))).startswith(f"{tmp_path}/b.txt is not UTF-8 at byte 3;")
    (tmp_path / "b.txt").unlink()
    assert "leave the validation split empty" in refused(lambda: Text(str(tmp_path)).open("validation"))
    (tmp_path / "a.md").write_text("x\n" * 4)
    assert "fewer than two texts" in message(Sentences(str(tmp_path)))
    assert "chooses from the splits of a TFDS dataset" in message(Text(str(tmp_path), test="train"), "spec")
    assert "and labelled texts are read from TFDS datasets alone" in message(LabelledText(str(tmp_path)), "spec")


def test_an_unreadable_file_is_named_and_capital_endings_are_read(tmp_path, monkeypatch):
    (tmp_path / "A.TXT").write_text("x\n" * 40)
    assert len(Text(str(tmp_path), length=7).open("validation")) == 1

    def refuse(path, *arguments, **named):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    assert refused(lambda: Text(str(tmp_path)).open("train")) == f"cannot read {tmp_path}/A.TXT: Permission denied"


def test_what_a_dataset_lacks_is_named():
    for value in (Text("digits"), Sentences("digits"), LabelledText("digits")):
        assert refused(value.spec) == (
            'dataset "digits" has no text "text"; its texts are: none; its examples have: image, label'
        )
    assert "its texts are: name, text" in refused(Text("pydoc_topics", feature="body").spec)
    assert 'has no class "module"; its examples have: ' in refused(LabelledText(label="module").spec)
    assert "255 token ids are too few" in refused(Text(tokenizer=Trained("bytes", 255)).spec)
    assert 'did you mean "pydoc_topics"' in refused(Text("pydoc_topic").spec)


def test_the_run_folder_gets_the_tokenizer_and_the_origin(folder, data_dir):
    value = Text(folder, tokenizer=Trained("characters", 40), length=11)
    files = value.files()
    described = json.loads(files["dataset.json"])
    assert described["dataset"] == folder and len(described["files"]) == 12
    assert [file["name"] for file in described["files"]][:3] == ["00.txt", "02.txt", "04.txt"]
    assert described["read"]["train"]["documents"] == 10
    assert described["read"]["test"]["bytes"] == len(SEPARATOR.join(value.texts("test")).encode())
    assert files["tokenizer.json"] == value.trained().to_json()
    described = json.loads(Text().files(data_dir)["dataset.json"])
    assert described["dataset"] == "pydoc_topics/1.0.0" and len(described["metadata"]["sha256"]) == 64
    assert described["metadata"]["source"].endswith("pydoc_data.topics")


def test_columns_of_ids_become_text(folder):
    value = Text(folder)
    ids = np.array([[*b"some"], [*b"text"]])
    columns = {"prompt": ids, "prediction": ids[:, 1:], "label": ids, "loss": np.ones(2)}
    out = value.readable(columns)
    assert out["prompt"].tolist() == ["some", "text"] and out["prediction"].tolist() == ["ome", "ext"]
    assert out["label"] is ids and out["loss"] is columns["loss"] and out["prompt"].dtype.kind == "U"
