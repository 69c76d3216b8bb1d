import importlib.util
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.data import Dataset, Sequences
from research.data.builders import installed
from research.data.builders import sequences as builder
from research.data.series import sequence_files
from research.data.splits import Split
from research.errors import UsageError

SPLITS = Split.__args__

needs_aeon = pytest.mark.skipif(not importlib.util.find_spec("aeon"), reason="needs the extra vowels")


def arrays_of(value, split, data_dir=None):
    return value.open(split, data_dir).arrays()


@pytest.fixture
def write(tmp_path):
    """Write an NPZ file of 31 sequences of up to 7 steps with 3 channels and 2 classes, and return its path."""

    def write(**changes):
        generator = np.random.default_rng(0)
        arrays = {
            "features": generator.normal(size=(31, 7, 3)),
            "label": np.arange(31) % 2,
            "lengths": generator.integers(1, 6, 31),
        }
        path = str(tmp_path / "sequences.npz")
        np.savez(path, **{name: array for name, array in {**arrays, **changes}.items() if array is not None})
        return path

    return write


def small(path, **fields):
    return Sequences(path, **({"length": 7, "channels": 3, "labels": 2, "mean": (0.0,), "std": (1.0,)} | fields))


@needs_aeon
def test_vowels_are_those_of_the_files_and_the_published_test_split(data_dir):
    whole = {split: arrays_of(Sequences(), split, data_dir) for split in SPLITS}
    assert [len(arrays["label"]) for arrays in whole.values()] == [216, 54, 370]
    assert np.bincount(whole["test"]["label"]).tolist() == [31, 35, 88, 44, 29, 24, 40, 50, 29]
    assert np.bincount(whole["train"]["label"]).tolist() == [24] * 9
    assert np.bincount(whole["validation"]["label"]).tolist() == [6] * 9
    assert whole["train"]["lengths"].min() == 7 and whole["test"]["lengths"].max() == 29
    package = importlib.util.find_spec("aeon").submodule_search_locations[0]
    folder = pathlib.Path(package) / "datasets/data/JapaneseVowels"
    for part, splits in {"TRAIN": ("train", "validation"), "TEST": ("test",)}.items():
        expected = set()
        for line in (folder / f"JapaneseVowels_{part}.ts").read_text().splitlines():
            if line[0] not in "#@":
                *channels, label = line.split(":")
                steps = zip(*(channel.split(",") for channel in channels), strict=True)
                expected.add((tuple(tuple(np.float32(x).item() for x in step) for step in steps), int(label) - 1))
        found = set()
        for split in splits:
            columns = (whole[split][name] for name in ("features", "lengths", "label"))
            for features, length, label in zip(*columns, strict=True):
                assert not features[length:].any()
                found.add((tuple(map(tuple, features[:length].tolist())), int(label)))
        assert found == expected and len(found) == sum(len(whole[split]["label"]) for split in splits)


@needs_aeon
def test_more_padding_changes_nothing(data_dir):
    short, long = (Sequences(length=length, noise=0.1) for length in (29, 41))
    one, other = (
        value.preprocess({name: jnp.asarray(array) for name, array in arrays_of(value, "test", data_dir).items()})
        for value in (short, long)
    )
    assert {name: (array.shape[1:], array.dtype) for name, array in one.items()} == {
        name: (item.shape, item.dtype) for name, item in short.spec().items()
    }
    np.testing.assert_array_equal(one["features"], other["features"][:, :29])
    assert not other["features"][:, 29:].any()
    for name in ("lengths", "label"):
        np.testing.assert_array_equal(one[name], other[name])


@needs_aeon
def test_defaults_standardise_every_channel_of_the_training_split(data_dir):
    value = Sequences()
    mean, std = value.statistics(data_dir)
    np.testing.assert_allclose((value.mean, value.std), (mean, std), atol=5.1e-3)
    batch = value.preprocess({name: jnp.asarray(x) for name, x in arrays_of(value, "train", data_dir).items()})
    steps = np.concatenate([x[:length] for x, length in zip(batch["features"], batch["lengths"], strict=True)])
    np.testing.assert_allclose(steps.mean(axis=0), np.zeros(12), atol=0.06)
    np.testing.assert_allclose(steps.std(axis=0), np.ones(12), atol=0.06)
    assert json.loads(value.files(data_dir)["dataset.json"])["metadata"]["test_source"].startswith("aeon ")


def test_standardisation_and_noise_by_hand():
    value = small("x.npz", mean=(1.0, 2.0, 3.0), std=(2.0, 1.0, 0.5), noise=0.5)
    batch = {"features": jnp.full((5, 7, 3), 4.0), "lengths": jnp.array([1, 7, 2, 3, 5])}
    clean = value.preprocess(batch)["features"]
    np.testing.assert_array_equal(clean[0], [[1.5, 2, 2], *[[0, 0, 0]] * 6])
    noise = value.preprocess(batch, jax.random.key(0))["features"] - clean
    assert (noise[0, 1:] == 0).all() and (noise[1] != 0).all() and 0.3 < float(noise[1].std()) < 0.7
    quiet = small("x.npz").preprocess(batch, jax.random.key(0))["features"]
    np.testing.assert_array_equal(quiet, small("x.npz").preprocess(batch)["features"])


def test_a_file_is_split_by_class_and_loses_nothing(write):
    features = np.arange(31 * 7 * 3, dtype=np.float64).reshape(31, 7, 3) + 1
    lengths = np.arange(31) % 5 + 1
    value = small(write(features=features, lengths=lengths), length=5)
    seen = []
    for split, counts in {"train": [11, 10], "validation": [2, 2], "test": [3, 3]}.items():
        arrays = arrays_of(value, split)
        assert np.bincount(arrays["label"]).tolist() == counts
        for row, length, label in zip(arrays["features"], arrays["lengths"], arrays["label"], strict=True):
            example = int(row[0, 0] - 1) // 21
            seen.append(example)
            np.testing.assert_array_equal(row[:length], features[example, :length])
            assert not row[length:].any() and length == lengths[example] and label == example % 2
    assert sorted(seen) == list(range(31))
    assert json.loads(value.files()["dataset.json"])["file"] == "sequences.npz"
    assert set(arrays_of(small(write(lengths=None)), "train")["lengths"]) == {7}


@pytest.mark.parametrize(
    ("changes", "fields", "message"),
    [
        ({}, {"length": 4}, "a sequence .* has 5 steps: set data.length to 5 or more"),
        ({}, {"channels": 4}, "have 3 channels: set data.channels to 3"),
        ({}, {"labels": 3}, "has 2 classes: set data.labels to 2"),
        ({}, {"test": "test"}, "data.test chooses from the splits of a TFDS dataset"),
        ({"label": np.arange(30)}, {}, r'array "label" is \(30,\) for 31 sequences'),
        ({"label": np.arange(31) - 2}, {}, 'row 0: "label" is -2; it must be a whole number from 0 on'),
        ({"lengths": np.full(31, 8)}, {}, 'row 0: "lengths" is 8; it must be a whole number from 1 to 7'),
        ({"features": np.full((31, 7, 3), np.nan)}, {}, "row 0: step 0 of channel 0 is missing"),
        ({"features": np.zeros((31, 7))}, {}, r'"features" is \(31, 7\); it must be \[n, l, d\]'),
        ({"features": None}, {}, 'no array "features"; valid names are label, lengths'),
    ],
)
def test_what_does_not_fit_is_said(write, changes, fields, message):
    with pytest.raises(UsageError, match=message) as caught:
        for split in SPLITS:
            small(write(**changes), **fields).open(split)
    assert "\n" not in str(caught.value)


def test_sequences_are_not_read_from_what_has_none(data_dir):
    with pytest.raises(UsageError, match="sequences are read from .npz files"):
        small("x.csv").open("train")
    with pytest.raises(UsageError, match='"digits" has no "features" .*; its examples have: image, label'):
        Sequences("digits").open("train", data_dir)
    with pytest.raises(UsageError, match="data.std has 2 values for sequences of 3 channels"):
        small("x.npz", std=(1.0, 2.0)).preprocess({"features": jnp.zeros((2, 7, 3)), "lengths": jnp.ones(2)})


@needs_aeon
def test_sequences_without_a_label_are_refused(data_dir, monkeypatch):
    examples = [{"features": np.zeros((5, 12)), "label": label} for label in (3, -1)]
    monkeypatch.setattr(sequence_files, "read", lambda source, keys: examples)
    with pytest.raises(UsageError, match='1 of 2 examples of the test split of "japanese_vowels" have no "label"'):
        sequence_files.from_dataset.__wrapped__(Dataset("japanese_vowels"), "test", data_dir)


def test_a_missing_or_changed_package_is_named(monkeypatch, tmp_path):
    find_spec = installed.importlib.util.find_spec
    with monkeypatch.context() as patch:
        patch.setattr(installed.importlib.util, "find_spec", lambda name: None if name == "aeon" else find_spec(name))
        assert Sequences().spec()["features"].shape == (29, 12)
        with pytest.raises(UsageError, match=r'pip install "ceteris-research\[vowels\]"'):
            Sequences().open("train", str(tmp_path))
    if find_spec("aeon"):
        parse = builder.parse
        monkeypatch.setattr(builder, "parse", lambda text: (parse(text)[0], parse(text)[1][::-1].copy()))
        with pytest.raises(UsageError, match=r"JapaneseVowels_TRAIN.ts of aeon .* holds other numbers"):
            Sequences().open("train", str(tmp_path))
