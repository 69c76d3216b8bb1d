"""Evaluation counts every example once; prediction files hold the same numbers."""

import csv
import json

import jax
import numpy as np
import pytest

from research.errors import UsageError
from research.training import evaluate, predict, restore, write_predictions
from research.training.evaluation import BATCH_SIZE, evaluation_size, evaluation_sums


@pytest.fixture(scope="module")
def restored(undisturbed):
    return restore(undisturbed)


@pytest.fixture(scope="module")
def predictions(restored, options):
    return predict(*restored, "test", options)


@pytest.mark.parametrize("batch_size", [1, 7, 64, 10_000])
def test_metrics_do_not_depend_on_the_batch_size(batch_size, restored, options, undisturbed, monkeypatch):
    monkeypatch.setattr("research.training.evaluation.BATCH_SIZE", batch_size)
    expected = json.loads((undisturbed / "result.json").read_text())["metrics"]["test"]
    metrics = evaluate(*restored, "test", options)
    assert metrics.pop("loss") == pytest.approx(expected.pop("loss"), rel=1e-6)
    assert metrics == expected


def test_sums_equal_those_of_the_predictions(restored, options, predictions):
    experiment, state = restored
    sums = evaluation_sums(experiment, state, experiment.data.open("test", options.data_dir))
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (predictions["label"], predictions["prediction"]), 1)
    np.testing.assert_array_equal(sums["confusion"], confusion)
    assert sums["count"] == len(predictions["index"])


def test_predictions_are_in_dataset_order(restored, options, predictions):
    experiment, state = restored
    arrays = experiment.data.open("test", options.data_dir).arrays()
    assert list(predictions) == ["index", "label", "prediction", "probability"]
    np.testing.assert_array_equal(predictions["index"], np.arange(len(arrays["label"])))
    np.testing.assert_array_equal(predictions["label"], arrays["label"])
    images = experiment.data.preprocess(arrays)["image"]
    params = state.params if state.ema is None else state.ema
    logits = experiment.model.apply({"params": params}, images)
    np.testing.assert_allclose(predictions["probability"], jax.nn.softmax(logits), atol=1e-6)
    np.testing.assert_array_equal(predictions["prediction"], predictions["probability"].argmax(axis=1))


def test_every_file_holds_the_same_numbers(predictions, tmp_path):
    for ending in ("csv", "jsonl", "npz"):
        write_predictions(tmp_path / "new" / f"out.{ending}", predictions)
    with (tmp_path / "new" / "out.csv").open() as file:
        rows = list(csv.DictReader(file))
    lines = [json.loads(line) for line in (tmp_path / "new" / "out.jsonl").read_text().splitlines()]
    with np.load(tmp_path / "new" / "out.npz") as archive:
        arrays = {name: archive[name] for name in archive.files}
    assert len(rows) == len(lines) == len(arrays["index"]) == len(predictions["index"])
    for name in ("index", "label", "prediction"):
        assert [int(row[name]) for row in rows] == [line[name] for line in lines] == arrays[name].tolist()
    table = [[float(row[f"probability_{index}"]) for index in range(10)] for row in rows]
    assert table == [line["probability"] for line in lines] == arrays["probability"].tolist()
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == ["out.csv", "out.jsonl", "out.npz"]


def test_text_matrices_and_missing_numbers_are_written(tmp_path):
    columns = {
        "index": np.arange(2),
        "text": np.array(["a, “b”\n", "ü\t"]),
        "quantiles": np.array([[[1.5, np.nan]], [[0.1, -2.0]]], np.float32),
    }
    for ending in ("csv", "jsonl", "npz"):
        write_predictions(tmp_path / f"out.{ending}", columns)
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["index", "text", "quantiles_0_0", "quantiles_0_1"]
    assert rows[1:] == [["0", "a, “b”\n", "1.5", "nan"], ["1", "ü\t", str(float(np.float32(0.1))), "-2.0"]]
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines[0] == {"index": 0, "text": "a, “b”\n", "quantiles": [[1.5, None]]}
    with np.load(tmp_path / "out.npz") as archive:
        for name, column in columns.items():
            np.testing.assert_array_equal(archive[name], column)


def test_other_endings_are_refused(predictions, tmp_path):
    with pytest.raises(UsageError, match='".cvs"; did you mean ".csv"'):
        write_predictions(tmp_path / "out.cvs", predictions)


def test_a_place_that_cannot_be_written(predictions, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write"):
        write_predictions(tmp_path / "file" / "out.csv", predictions)


@pytest.mark.parametrize("parts", [1, 3, 8])
def test_a_batch_of_evaluation_divides_among_devices(parts):
    for n in (1, 5, 180, 257, 5000):
        size = evaluation_size(range(n), parts)
        assert size % parts == 0 and min(n, BATCH_SIZE) <= size < 2 * min(n, BATCH_SIZE) + parts
