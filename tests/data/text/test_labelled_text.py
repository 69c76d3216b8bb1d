"""Texts with a class."""

import pytest

from research.data import LabelledText, Sentences, Text, Trained
from research.data.schema import Categorical
from research.data.text import labelled_text
from research.tokens import SPECIAL, START
from tests.data.text.reading import SPLITS, batches, refused


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
    assert refused(lambda: value.open("test", reviews)) == said
