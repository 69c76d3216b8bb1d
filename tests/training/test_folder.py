"""Whose folder it is, and what a mistake says; nothing is overwritten."""

import json

import pytest

from research.errors import RunError, UsageError
from research.experiment import from_json, replace
from research.training import restore, train


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_of_a_finished_run(tiny, undisturbed):
    result = json.loads((undisturbed / "result.json").read_text())
    promised = "experiment fingerprint seed steps metrics seconds parameters device versions commit"
    assert set(result) >= set(promised.split())
    assert set(result["metrics"]) == {"validation", "test"}
    assert set(result["seconds"]) == {"compile", "input", "step", "evaluate", "checkpoint", "total"}
    assert sum(value for name, value in result["seconds"].items() if name != "total") <= result["seconds"]["total"]
    assert result["seed"] == 3 and result["steps"] == 12
    assert from_json((undisturbed / "experiment.json").read_text()) == tiny
    assert {"versions", "devices", "commit"} <= set(json.loads((undisturbed / "environment.json").read_text()))
    assert (undisturbed / "curves.png").read_bytes().startswith(b"\x89PNG")
    lines = [json.loads(line) for line in (undisturbed / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["split"] == "train"] == list(range(1, 13))
    assert [line["step"] for line in lines if line["split"] == "validation"] == [5, 10, 12]
    assert [line["step"] for line in lines if line["split"] == "test"] == [12]
    assert {"gradient_norm", "parameter_norm", "update_norm"} <= set(lines[0])


def test_another_experiment_is_refused(tiny, options, undisturbed):
    before = content(undisturbed)
    with pytest.raises(UsageError, match=r"model.dropout: 0.25 -> 0.5"):
        train(replace(tiny, {"model.dropout": 0.5}), undisturbed, options)
    assert content(undisturbed) == before


@pytest.mark.parametrize("text", ["", "{", '{"class": "Experiment"', '{"class": "os.system"}', "\x00\xff"])
def test_damaged_experiment_is_left_alone(text, tiny, options, tmp_path):
    (tmp_path / "experiment.json").write_text(text)
    for action in (lambda: train(tiny, tmp_path, options), lambda: restore(tmp_path)):
        with pytest.raises(RunError, match="experiment.json is damaged"):
            action()
    assert (tmp_path / "experiment.json").read_text() == text
    assert len(content(tmp_path)) == 1


def test_damaged_result_is_left_alone(tiny, options, tmp_path):
    (tmp_path / "result.json").write_text("{")
    with pytest.raises(RunError, match="result.json is damaged"):
        train(tiny, tmp_path, options)
    assert (tmp_path / "result.json").read_text() == "{"


def test_checkpoints_without_experiment_are_left_alone(tiny, options, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(RunError, match="no experiment.json"):
        train(tiny, tmp_path, options)


def test_folder_that_cannot_be_made(tiny, options, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="cannot write to"):
        train(tiny, tmp_path / "file" / "run", options)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"model.classes": 7}, "10 classes"),
        ({"task.class_weights": (1.0, 2.0)}, "2 weights for 10 classes"),
        ({"task.class_weights": (0.0,) * 10}, "all zero"),
        ({"model.channels": (3, 3, 3, 3)}, "too small to pool"),
        ({"data.name": "digitz"}, "digits"),
        ({"data.validation": "dev"}, "validation"),
    ],
)
def test_parts_that_do_not_fit_are_found_before_anything_is_written(overrides, message, tiny, options, tmp_path):
    with pytest.raises(UsageError, match=message):
        train(replace(tiny, overrides), tmp_path / "run", options)
    assert not (tmp_path / "run").exists()


def test_restore_of_no_run(tmp_path):
    with pytest.raises(RunError, match="not a run folder"):
        restore(tmp_path)
