"""What data says of its entries is true of what it gives, and needs no files."""

import dataclasses

import jax
import numpy as np
import pytest

from research import data
from research.data import (
    Data,
    Dataset,
    Images,
    LabelledText,
    Pairs,
    Sentences,
    Sequences,
    Series,
    Spans,
    Table,
    Text,
    Trained,
)
from research.data.batching.training_order import full_steps
from research.data.schema import Categorical, Image, Integer, Labels, Length, Presence, Real, Tokens
from research.data.source import Batch
from research.data.storage import catalog
from tests.families import DATES, DOCSTRINGS, IMAGES, PACKED, SENTENCES, SPANS, SUNSPOTS, TOPICS, VOWELS

B = 3
VALUES = {
    "digits": Images("digits"),
    "scaled images": Images("coloured_shapes", size=7),
    "labels and a target": Images("digit_canvas"),
    "text by bytes": Text(),
    "text by characters": Text(tokenizer=Trained("characters", 256), length=13),
    "texts that share windows": Text(tokenizer=Trained("bpe", 300), length=13, jitter=False, packed=True),
    "labelled text": LabelledText(),
    "sentences": Sentences(),
    "spans": Spans(),
    "pairs": Pairs(),
    "sequences": Sequences(),
    "a series": Series(),
    "changes of a series": Series("co2", horizon=5, difference=True, presence=True),
    "numbers": Table("x.csv", features=7, outputs=3, presence=True),
    "standardised numbers": Table("x.csv", features=7, outputs=2, level=(1.0, 2.0), scale=(3.0, 4.0)),
    "labels": Table("x.csv", features=7, kind="labels", outputs=3),
    "classes": Table("x.csv", features=7, kind="classes", outputs=3),
}
OPENED = [IMAGES, DOCSTRINGS, SENTENCES, SPANS, TOPICS, PACKED, DATES, VOWELS, SUNSPOTS]


def fits(meaning, item, batch):
    """Whether an entry of a batch, or its shape and type, may mean that."""
    shape, integer = list(item.shape[1:]), np.issubdtype(item.dtype, np.integer)
    match meaning:
        case Image(h, w, c):
            return shape == [h, w, c] and item.dtype == np.float32
        case Tokens():
            return len(shape) == 1 and integer
        case Categorical():
            return len(shape) <= 1 and integer
        case Labels(k):
            return shape == [k] and integer
        case Real(size):
            return (shape[-1:] or [1]) == [size] and item.dtype == np.float32
        case Integer():
            return shape == [] and integer
        case Length(of):
            return shape == [] and integer and len(batch[of].shape) > 1
        case Presence(of):
            return item.shape == batch[of].shape and item.dtype == bool


def test_all_public_data_is_tried():
    abstract = {Data, Dataset}
    public = {item for item in vars(data).values() if isinstance(item, type) and issubclass(item, Data)} - abstract
    assert {type(value) for value in VALUES.values()} == public


@pytest.mark.parametrize("name", VALUES)
def test_every_entry_of_a_batch_is_described_and_is_what_it_says(name, offline):
    value = VALUES[name]
    raw = {name: jax.ShapeDtypeStruct((B, *item.shape), item.dtype) for name, item in value.spec().items()}
    batch = jax.eval_shape(value.preprocess, raw)
    entries = value.schema().entries
    assert entries.keys() == batch.keys()
    for name, item in batch.items():
        assert fits(entries[name], item, batch), (name, entries[name], item)
        assert str(entries[name]) and "(" not in str(entries[name])  # words, not a repr
    assert not offline


@pytest.mark.parametrize("value", OPENED, ids=lambda value: type(value).__name__)
def test_what_is_opened_keeps_to_what_is_said(value, data_dir):
    raw = value.open("train", data_dir)
    batch: Batch = jax.device_get(value.preprocess(raw[np.arange(len(raw))]))
    for name, meaning in value.schema().entries.items():
        array = batch[name]
        match meaning:
            case Tokens(n) | Categorical(n):
                assert array.min() >= 0 and array.max() < n
            case Labels():
                assert np.isin(array, (-1, 0, 1)).all()
            case Length(of):
                assert array.min() > 0 and array.max() <= batch[of].shape[1]
            case Presence(of):
                assert np.isfinite(batch[of][array]).all()
    arrays = raw.arrays()
    for lengths, counted in value.lengths().items():
        for entry in counted:  # what may be cut is padding
            past = np.arange(arrays[entry].shape[1]) >= arrays[lengths][:, None]  # [n, l]
            assert not arrays[entry][past].any() and arrays[entry][~past].any()


@pytest.mark.parametrize("name", [name for name, value in VALUES.items() if value.lengths()])
def test_no_step_past_a_cut_is_left_in_a_batch(name):
    """Whatever has as many steps as an entry that is cut has as many as that was cut to, once it is prepared."""
    value, full = VALUES[name], full_steps(VALUES[name])
    raw = {name: jax.ShapeDtypeStruct((B, *item.shape), item.dtype) for name, item in value.spec().items()}
    cut = {
        name: jax.ShapeDtypeStruct((B, full[name] - 2, *item.shape[2:]), item.dtype) if name in full else item
        for name, item in raw.items()
    }
    whole, short = (jax.eval_shape(value.preprocess, batch) for batch in (raw, cut))
    for entry, item in whole.items():
        less = 2 if item.ndim > 1 else 0
        assert short[entry].shape[:2] == (B, *(steps - less for steps in item.shape[1:2])), entry


def test_the_unit_that_repeats_is_named_where_it_is_known():
    units = {
        name: catalog.unit(name) for name in ("digits", "digit_canvas", "japanese_vowels", "cmudict", "babel_dates")
    }
    assert units == {
        "digits": None,
        "digit_canvas": "digit",
        "japanese_vowels": "speaker",
        "cmudict": "word",
        "babel_dates": None,
    }
    assert catalog.unit("imdb_reviews") is None
    for value, unit in [
        (Images("digit_canvas"), "digit"),
        (Text(), "document"),  # windows of one topic
        (Text("stdlib_docstrings"), "module"),
        (Text("./notes"), "document"),
        (Sentences(), "module"),
        (LabelledText(), "module"),
        (Series(), "series"),
        (Sequences(), "speaker"),
        (Sequences("./mine.npz"), None),
        (Pairs("cmudict"), "word"),
        (Table("x.csv", features=1), None),
    ]:
        assert value.schema().unit == unit, value


def test_data_says_what_it_must_answer():
    for method in (Data().spec, Data().schema):
        with pytest.raises(NotImplementedError):
            method()


def test_meanings_are_values():
    for meaning in (Image(1, 2, 3), Tokens(5), Categorical(2, ("a", "b")), Labels(2), Real(), Integer("a number")):
        assert dataclasses.replace(meaning) == meaning and hash(meaning)
    assert str(Categorical(12, tuple("abcdefghijkl"))) == "one of 12 classes: a, b, c, d, e, f, g, h, i, j, ..."
