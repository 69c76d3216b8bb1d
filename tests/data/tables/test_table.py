import dataclasses
import json

import numpy as np
import pytest

from research.data import Table
from research.data.schema import Categorical, Labels, Real
from research.data.splits import Split
from research.data.tables import table
from research.errors import UsageError
from research.tasks import Regression

SPLITS = Split.__args__


@pytest.fixture
def write(tmp_path):
    """Write rows of cells below a header into a CSV file and return its path."""

    def write(header, rows):
        path = tmp_path / "table.csv"
        path.write_text("\n".join([header, *(",".join(map(str, row)) for row in rows)]) + "\n")
        return str(path)

    return write


def test_inputs_are_standardised_by_the_training_split_alone(write):
    rows = [(i, (7 * i) % 23, 5, 100 + i) for i in range(53)]
    value = Table(write("a,b,c,y", rows), features=3, target=("y",))
    arrays = {split: value.open(split).arrays() for split in SPLITS}
    assert [len(split["target"]) for split in arrays.values()] == [37, 5, 11]
    for split in arrays.values():
        assert {name: (array.shape[1:], array.dtype) for name, array in split.items()} == {
            name: (item.shape, item.dtype) for name, item in value.spec().items()
        }
    training = np.array([rows[int(y) - 100][:3] for y in arrays["train"]["target"][:, 0]], np.float64)
    mean, std = training.mean(axis=0), training.std(axis=0)
    std[2] = 1  # a column that never changes
    seen = []
    for split in arrays.values():
        index = split["target"][:, 0].astype(int) - 100
        raw = np.array([rows[i][:3] for i in index])
        np.testing.assert_allclose(split["features"], (raw - mean) / std, atol=1e-5)
        assert split["present"].all()
        seen += index.tolist()
    assert sorted(seen) == list(range(53))
    files = value.files()
    fitted = json.loads(files["columns.json"])
    assert list(fitted) == ["a", "b", "c"]
    np.testing.assert_allclose([fitted[name]["mean"] for name in "abc"], mean)
    assert json.loads(files["dataset.json"])["file"] == "table.csv"
    again = Table(value.name, features=3, target=("y",)).open("test").arrays()
    np.testing.assert_array_equal(again["features"], arrays["test"]["features"])


@pytest.mark.fault("F36")
@pytest.mark.parametrize("written", [".csv", ".npz"])
def test_columns_far_from_zero_are_told_apart(written, write, tmp_path):
    """Seconds since 1970 are 70 numbers, of which float32 would make two; a target has to stay in its units."""
    rows = [(1700000000 + i, i / 10) for i in range(70)]
    path = write("time,y", rows)
    if written == ".npz":
        path = str(tmp_path / "table.npz")
        np.savez(path, features=np.array(rows)[:, :1].astype(np.int64), y=np.array(rows)[:, 1])
    arrays = Table(path, features=1, target=("y",)).open("train").arrays()
    assert len(np.unique(arrays["features"])) == 49
    assert np.corrcoef(arrays["features"][:, 0], arrays["target"][:, 0])[0, 1] == pytest.approx(1, abs=1e-6)
    if written == ".csv":
        said = '"time" goes from 1700000000 to 1700000069, and float32, .* subtract one of them from all'
        with pytest.raises(UsageError, match=said):
            Table(path, features=1, target=("time",)).open("train")


@pytest.mark.fault("F38")
def test_rows_that_occur_in_training_too_are_counted(write, caplog):
    """50 rows, each of them twice; among rows that differ in one cell, there is none."""
    twice = Table(write("a,b,y", [(i % 25, i % 25 / 7, i % 25) for i in range(50)]), features=2, target=("y",))
    rows = {split: [tuple(row) for row in twice.open(split).arrays()["features"].tolist()] for split in SPLITS}
    counts = {split: sum(row in rows["train"] for row in rows[split]) for split in SPLITS}
    assert counts["test"] > 3 and [record.getMessage() for record in caplog.records] == [
        f"{counts[split]} of {len(rows[split])} {split} rows of {twice.name} are in train too"
        for split in ("validation", "test")
        if counts[split]
    ]
    caplog.clear()
    once = Table(write("a,b,y", [(i % 25, i % 25 / 7, i) for i in range(50)]), features=2, target=("y",))
    once.open("train")
    assert not caplog.records


def test_missing_inputs_and_targets_are_marked(write):
    rows = [(i, "" if i % 3 == 0 else 1 + i % 2, "" if i % 5 == 0 else i, i) for i in range(1, 41)]
    value = Table(write("key,gap,y,z", rows), features=2, outputs=2, target=("y", "z"), presence=True)
    arrays = value.open("train").arrays()
    i = arrays["target"][:, 1].astype(int)
    np.testing.assert_array_equal(arrays["features"][:, 2:], np.stack([np.ones_like(i), i % 3 != 0], axis=1))
    assert (arrays["features"][i % 3 == 0, 1] == 0).all() and (arrays["features"][i % 3 != 0, 1] != 0).all()
    # Mean and deviation are those of what is there.
    present = arrays["features"][i % 3 != 0, 1]
    np.testing.assert_allclose([present.mean(), present.std()], [0, 1], atol=1e-5)
    np.testing.assert_array_equal(arrays["present"], np.stack([i % 5 != 0, i > 0], axis=1))
    np.testing.assert_array_equal(arrays["target"][:, 0], np.where(i % 5 == 0, 0, i))
    with pytest.raises(UsageError, match='line 4, column "gap": a value is missing: set data.presence'):
        Table(value.name, features=2, outputs=2, target=("y", "z")).open("train")


def test_classes_are_split_alike_and_labels_may_be_missing(write):
    rows = [(i, 0.5 if i % 2 else 2, i % 3, "" if i % 4 == 0 else i % 2) for i in range(60)]
    path = write("a,b,kind,flag", rows)
    classes = Table(path, features=3, kind="classes", target=("kind",), outputs=3, presence=True)
    assert classes.schema().entries["label"] == Categorical(3)
    for split, count in zip(SPLITS, (14, 2, 4), strict=True):
        label = classes.open(split).arrays()["label"]
        assert label.dtype == np.int32 and np.bincount(label).tolist() == [count] * 3
    labels = Table(path, features=3, kind="labels", target=("flag",))
    arrays = labels.open("train").arrays()
    assert labels.schema().entries["labels"] == Labels(1) and arrays["labels"].shape == (42, 1)
    assert set(arrays["labels"].ravel().tolist()) == {-1, 0, 1}
    assert Table(path, features=3).schema().entries["target"] == Real(1)


def test_an_npz_file_gives_what_a_csv_file_of_its_numbers_gives(write, tmp_path):
    generator = np.random.default_rng(0)
    features, target = generator.normal(size=(31, 3)).astype(np.float32), generator.integers(0, 2, (31, 2))
    path = str(tmp_path / "table.npz")
    np.savez(path, features=features, target=target)
    rows = [[*map(repr, map(float, row)), *answers] for row, answers in zip(features, target, strict=True)]
    for split in SPLITS:
        one = Table(path, features=3, kind="labels", outputs=2).open(split).arrays()
        csv = Table(write("a,b,c,p,q", rows), features=3, kind="labels", target=("p", "q"), outputs=2)
        for name, array in csv.open(split).arrays().items():
            np.testing.assert_array_equal(array, one[name])


@pytest.mark.parametrize(
    ("header", "row", "fields", "message"),
    [
        ("a,y", "1", {}, "table.csv, line 22: 1 cells where the header has 2"),
        ("a,y", "1,2,3", {}, "table.csv, line 22: 3 cells where the header has 2"),
        ("a,y", "1,red", {}, 'table.csv, line 22, column "y": "red" is not a finite number; leave the cell empty'),
        ("a,y", "inf,1", {}, 'line 22, column "a": "inf" is not a finite number'),
        ("a,y", "1,2", {"target": ("z",)}, 'no column "z"; valid names are a, y'),
        ("a,y", "1,2", {"target": ("a", "y"), "outputs": 2}, "no column besides the targets"),
        ("a,y", "1,2", {"target": ()}, "data.target is empty"),
        ("a,y", "1,2", {"features": 2}, "has 1 inputs: set data.features to 1"),
        ("a,y", "1,2", {"outputs": 3}, "has 1 columns of targets: set data.outputs to 1"),
        ("a,y", "1,2", {"kind": "labels"}, "line 22: the target is 2; it must be 0, 1 or missing"),
        ("a,y", "1,2", {"kind": "classes", "outputs": 2}, "line 22: the target is 2; .* a whole number from 0 to 1"),
        ("a,y", "1,", {"kind": "classes", "outputs": 2}, "line 22: the target is nan; it must be a whole number"),
    ],
)
def test_what_does_not_fit_is_said(write, header, row, fields, message):
    value = Table(write(header, [(1, 1)] * 20 + [row.split(",")]), **({"features": 1, "target": ("y",)} | fields))
    with pytest.raises(UsageError, match=message) as caught:
        value.open("train")
    assert "\n" not in str(caught.value)


def test_too_little_is_said(write):
    path = write("a,b,y", [(i, "", 1) for i in range(3)])
    with pytest.raises(UsageError, match='no value of "b" in its training split'):
        Table(path, features=2, target=("y",), presence=True).open("train")
    with pytest.raises(UsageError, match="the validation split .* has no examples"):
        Table(write("a,y", [(1, 1), (2, 2), (3, 3)]), features=1, target=("y",)).open("validation")
    with pytest.raises(UsageError, match="must be the path of a .csv, .jsonl or .npz file"):
        Table("digits", features=1).open("train")
    with pytest.raises(UsageError, match="cannot read nowhere.csv: No such file"):
        Table("nowhere.csv", features=1).open("train")


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_is_computed_in_stretches_is_what_numpy_computes_at_once(d, order, tmp_path, monkeypatch):
    """To the last bit, gaps and a column that never changes among them."""
    generator = np.random.default_rng(d)
    values = (generator.normal(size=(997, d)) * 10.0 ** generator.normal(size=d) + 5).astype(np.float32, order=order)
    values[generator.random((997, d)) < 0.1] = np.nan
    values[:, d // 2] = 3
    path = str(tmp_path / "t.npz")
    np.savez(path, features=values, target=np.arange(997))
    monkeypatch.setattr(table, "_NUMBERS", 7 * d)
    value = Table(path, features=d, presence=True)
    found = {split: value.open(split).arrays() for split in SPLITS}
    rows = {split: arrays["target"][:, 0].astype(int) for split, arrays in found.items()}
    training = values[rows["train"]].astype(np.float64)
    mean, std = np.nanmean(training, axis=0), np.nanstd(training, axis=0)
    fitted = json.loads(value.files()["columns.json"])
    assert [[each["mean"], each["std"]] for each in fitted.values()] == [
        [m, s or 1] for m, s in zip(mean.tolist(), std.tolist(), strict=True)
    ]
    for split, arrays in found.items():
        scaled = (values[rows[split]] - mean) / np.where(std > 0, std, 1)
        known = ~np.isnan(scaled)
        expected = np.concatenate([np.where(known, scaled, 0), known], axis=1).astype(np.float32)
        np.testing.assert_array_equal(arrays["features"].view(np.uint32), expected.view(np.uint32))


def test_a_file_is_parsed_and_digested_once_until_it_changes(write, files_read):
    rows = [(i, i % 7, i % 3) for i in range(29)]
    value = Table(write("a,b,y", rows), features=2, target=("y",))
    for _ in range(3):
        before = [value.open(split).arrays()["features"] for split in SPLITS], value.files()
    assert files_read == {"read": 1, "file_digest": 1}
    write("a,b,y", [(i, i % 7, 10 * (i % 3)) for i in range(29)])
    assert value.files()["dataset.json"] != before[1]["dataset.json"]
    assert value.open("train").arrays()["target"].max() == 20 and files_read == {"read": 2, "file_digest": 2}


def test_outputs_are_estimates_in_units_of_level_and_scale(write):
    """Losses are of standardised targets, errors in their own units; without level and scale both are the same."""
    value = Table(write("a,y", [(i, 100 + 7 * i) for i in range(20)]), 1, target=("y",), level=(150.0,), scale=(10.0,))
    batch = value.preprocess(value.open("train").arrays())
    task, outputs = Regression(), np.full((14, 1), 2, np.float32)
    np.testing.assert_array_equal(task.predictions(outputs, batch)["prediction"], np.full((14, 1), 170))
    metrics = task.summarize(task.measure(outputs, batch))
    error = (batch["target"] - 170).astype(np.float64)
    assert metrics["rmse"] == pytest.approx(np.sqrt((error**2).mean()))
    assert metrics["loss"] == pytest.approx((error**2).mean() / 100)
    for name in ("level", "scale"):
        with pytest.raises(UsageError, match=f"data.{name} has 2 values for 1 targets: give one for each"):
            dataclasses.replace(value, **{name: (1.0, 2.0)}).preprocess(batch)
