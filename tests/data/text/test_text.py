import dataclasses
import json
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from research.data import Batches, LabelledText, Records, Sentences, Text, Trained, evaluation_batches
from research.data.builders import OWN
from research.data.builders.made import SHARES, by_group
from research.data.builders.text import docstrings
from research.data.schema import Categorical, Tokens
from research.data.splits import Split
from research.data.storage.folders import split_texts
from research.data.text import labelled_text
from research.data.text.sentences import sentences
from research.data.text.text import SEPARATOR
from research.data.text.tokenizers import Bytes
from research.errors import UsageError
from research.tokens import END, MASK, SPECIAL, START

SPLITS = Split.__args__
PLAIN = {"bytes": 256, "characters": 40, "bpe": 300}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve short documents with characters of one to four bytes; the test split has some that no other has."""
    root = tmp_path_factory.mktemp("documents")
    (root / "inner").mkdir()
    for i in range(12):
        words = (f"{['née', 'étude', 'Wort', '🙂', 'word'][(i + j) % 5]}{j * i}" for j in range(3 + 5 * i))
        text = " ".join(words) + ".\n"
        (root / ("inner" if i % 2 else "") / f"{i:02}.txt").write_text(text, encoding="utf8")
    (root / ".hidden.txt").write_bytes(b"\xff")
    (root / "picture.png").write_bytes(b"\xff")
    return str(root)


def batches(value, split, size=7, data_dir=None):
    run = jax.jit(value.preprocess)
    for batch in evaluation_batches(value.open(split, data_dir), size):
        yield jax.tree.map(np.asarray, run(batch))


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
    assert "leave the validation split empty" in _refused(lambda: Text(str(tmp_path)).open("validation"))
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
    assert _refused(lambda: Text(str(tmp_path)).open("train")) == f"cannot read {tmp_path}/A.TXT: Permission denied"


def test_what_separates_documents_is_known_where_no_document_has_it(tmp_path):
    for i in range(12):
        (tmp_path / f"{i}.txt").write_text("one line " * (i + 1))
    value = Text(str(tmp_path), tokenizer=Trained("characters", 20))
    assert value.trained().decode(value.trained().encode(SEPARATOR)) == SEPARATOR


def _refused(action):
    with pytest.raises(UsageError) as caught:
        action()
    return str(caught.value)


def test_what_a_dataset_lacks_is_named():
    for value in (Text("digits"), Sentences("digits"), LabelledText("digits")):
        assert _refused(value.spec) == (
            'dataset "digits" has no text "text"; its texts are: none; its examples have: image, label'
        )
    assert "its texts are: name, text" in _refused(Text("pydoc_topics", feature="body").spec)
    assert 'has no class "module"; its examples have: ' in _refused(LabelledText(label="module").spec)
    assert "255 token ids are too few" in _refused(Text(tokenizer=Trained("bytes", 255)).spec)
    assert 'did you mean "pydoc_topics"' in _refused(Text("pydoc_topic").spec)


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


def test_topics_and_docstrings_stay_whole_and_apart(data_dir):
    from research.data.text.documents import columns

    for name, group in (("pydoc_topics", "name"), ("stdlib_docstrings", "module")):
        owners, sizes, everything = [], [], []
        for split in SPLITS:
            groups, texts = columns(Text(name), (group, "text"), split, data_dir)
            owners.append({label.partition(".")[0].removeprefix("_py").removeprefix("_") for label in groups})
            sizes.append(sum(map(len, texts)))
            everything += texts
        assert not owners[0] & owners[1] and not (owners[0] | owners[1]) & owners[2]
        assert len(everything) == len(set(everything))
        np.testing.assert_allclose(np.array(sizes) / sum(sizes), list(SHARES.values()), atol=0.05)
    from pydoc_data.topics import topics

    assert sorted(sum((Text().texts(split, data_dir) for split in SPLITS), ())) == sorted(set(topics.values()))
    assert "tensorflow" not in sys.modules


def test_docstrings_know_what_they_describe():
    source = b'''"""Module."""
class A:
    """Class."""
    if True:
        def f(self):
            r"""Method \\d."""
            def g():
                "Inner function."
    class B:
        async def h(self):
            """
            Indented.

              More.
            """
    def bare(self): pass
try:
    def k(): "Function."
except ValueError:
    class C: "\\d"
'''
    assert list(docstrings(source)) == [
        ("module", "Module."),
        ("class", "Class."),
        ("method", "Method \\d."),
        ("function", "Inner function."),
        ("method", "Indented.\n\n  More."),
        ("function", "Function."),
        ("class", "\\d"),
    ]


def test_a_group_lies_in_one_split():
    examples = [{"i": i} for i in range(1000)]
    splits = by_group(examples, [str(i // 7) for i in range(1000)], [1] * 1000)
    groups = [{example["i"] // 7 for example in part} for part in splits.values()]
    assert sum(map(len, groups)) == len(set.union(*groups)) == 143
    assert [round(len(part) / 1000, 1) for part in splits.values()] == list(SHARES.values())


def test_labelled_texts_begin_with_the_start_token(data_dir):
    from research.data.text.documents import columns

    value = LabelledText(tokenizer=Trained("bytes", 261), length=19)
    assert value.schema().entries["label"] == Categorical(4, ("module", "class", "function", "method"))
    texts, kinds = columns(value, ("text", "kind"), "test", data_dir)
    cut, n = 0, len(texts)
    for batch in batches(value, "test", 100, data_dir):
        for tokens, length, label in zip(batch["tokens"], batch["lengths"], batch["label"], strict=True):
            if not texts:
                break
            data = texts[0].encode()[:18]
            assert tokens[0] == START and length == 1 + len(data) and label == kinds[0]
            assert bytes((tokens[1:length] - SPECIAL).tolist()) == data and not tokens[length:].any()
            cut += len(texts[0].encode()) > 18
            texts, kinds = texts[1:], kinds[1:]
    assert not texts and value.counts("test", data_dir) == {"examples": n, "cut": cut}


@pytest.fixture(scope="module")
def reviews(tmp_path_factory):
    """A folder with an imdb_reviews of twenty and five texts, prepared through the real catalogue class."""
    import tensorflow_datasets as tfds

    def generate(builder, n):
        for i in range(n):
            yield i, {"text": f"review {i}. It is {'good' if i % 2 else 'bad'}. The end.", "label": i % 2}

    real = tfds.builder_cls("imdb_reviews")
    body = {
        "name": "imdb_reviews",
        "pkg_dir_path": real.pkg_dir_path,
        "__module__": real.__module__,
        "_split_generators": lambda builder, downloads: {"train": generate(builder, 20), "test": generate(builder, 5)},
        "_generate_examples": generate,
    }
    folder = str(tmp_path_factory.mktemp("reviews"))
    fake = type(real.__name__, (real,), body, skip_registration=True)
    fake(data_dir=folder, config="plain_text", file_format="array_record").download_and_prepare()
    return folder


def test_a_catalogue_dataset_of_texts_works_by_name(reviews):
    value = LabelledText("imdb_reviews", label="label", tokenizer=Trained("words", 50), length=11)
    assert value.class_names() == ("neg", "pos")
    sizes = {}
    for split in SPLITS:
        arrays = value.open(split, reviews).arrays()
        sizes[split] = len(arrays["label"])
        out = value.readable({"source": arrays["tokens"]}, reviews)["source"]
        assert all(("good" in text) == label for text, label in zip(out, arrays["label"], strict=True))
    assert sizes == {"train": 18, "validation": 2, "test": 5}
    assert len(Text("imdb_reviews", length=8).open("test", reviews)) == 20  # 155 bytes
    assert len(Sentences("imdb_reviews", tokenizer=Trained("words")).open("train", reviews)) == 2 * 18


def test_examples_without_a_label_are_refused(reviews, monkeypatch):
    value = LabelledText("imdb_reviews", label="label", tokenizer=Trained("words", 50), length=11)
    monkeypatch.setattr(labelled_text, "columns", lambda *arguments: ((-1, 1, 0, -1),))
    said = '2 of 4 examples of the test split of "imdb_reviews" have no "label"; choose another data.test'
    assert _refused(lambda: value.open("test", reviews)) == said


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


def test_a_dataset_of_the_standard_library_that_is_not_there_is_named(monkeypatch, tmp_path):
    from research.data.builders import text

    monkeypatch.setattr(text.sysconfig, "get_path", lambda name: str(tmp_path))
    with pytest.raises(UsageError, match="has no source files of the standard library"):
        OWN["stdlib_docstrings"](data_dir=str(tmp_path)).make()


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
