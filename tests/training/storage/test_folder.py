"""Whose folder it is, and what a mistake says; nothing is overwritten."""

import dataclasses
import json
import math
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from research.errors import RunError, UsageError
from research.experiment import from_json, replace
from research.training import Interrupted, restore, train
from research.training.clock import Clock
from research.training.storage import environment, sealed
from research.training.storage.files import partial_file, write
from research.training.storage.folder import Folder


def content(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_of_a_finished_run(tiny, undisturbed):
    result = json.loads((undisturbed / "result.json").read_text())
    promised = "experiment fingerprint seed steps metrics seconds parameters device versions commit"
    assert set(result) >= set(promised.split())
    assert set(result["metrics"]) == {"validation", "test"}
    assert set(result["seconds"]) == {"compile", "input", "step", "evaluate", "checkpoint", "lost", "total"}
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


def test_what_is_large_gets_a_file_of_its_own(tmp_path):
    """Every report reads result.json: a matrix of 1,000 classes would make it 26 MB."""
    small, large = np.arange(100 * 100).reshape(100, 100), np.arange(101 * 101).reshape(101, 101)
    details = {
        "validation": {"matrix": small, "names": ["a"]},
        "test": {"matrix": large, "auc": np.array([0.5, np.nan])},
    }
    folder = Folder(tmp_path)
    found = folder.write_details(details)
    assert found["validation"] == {"matrix": small.tolist(), "names": ["a"]}
    assert found["test"]["matrix"] == {"file": "details.npz", "array": "test/matrix", "shape": [101, 101]}
    assert found["test"]["auc"][0] == 0.5 and len(json.dumps(found["test"])) < 200
    with np.load(tmp_path / "details.npz") as written:
        np.testing.assert_array_equal(written["test/matrix"], large)
    folder.details.unlink()
    folder.write_details({"test": {"matrix": small}})
    assert not folder.details.exists()


@pytest.mark.fault("F18")
@pytest.mark.parametrize(
    ("path", "value", "shown"),
    [
        ("model.channels", (3, 7), "(3, 5) -> (3, 7)"),
        ("model.dropout", 0.5, "0.25 -> 0.5"),
        ("model.dtype", "bfloat16", "'float32' -> 'bfloat16'"),
        ("optimizer.algorithm", "adagrad", "'adamw' -> 'adagrad'"),
        ("optimizer.learning_rate", 0.03, "0.02 -> 0.03"),
        ("batch_size", 13, "257 -> 13"),
        ("data.shift", 2, "1 -> 2"),
        ("steps", 13, "12 -> 13"),
        ("seed", 4, "3 -> 4"),
    ],
)
def test_another_experiment_is_refused_with_the_difference(path, value, shown, tiny, options, undisturbed):
    before = content(undisturbed)
    with pytest.raises(UsageError) as refused:
        train(replace(tiny, {path: value}), undisturbed, options)
    assert str(refused.value).splitlines()[1:] == [f"{path}: {shown}"]
    assert content(undisturbed) == before


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[]", '{"class": "CNN"}', '{"class": "Experiment"', '{"class": "os.system"}', "\x00\xff"]
)
def test_damaged_experiment_is_left_alone(text, tiny, options, tmp_path):
    (tmp_path / "experiment.json").write_text(text)
    for action in (lambda: train(tiny, tmp_path, options), lambda: restore(tmp_path)):
        with pytest.raises(RunError, match="experiment.json is damaged|cannot read .*experiment.json: unknown class"):
            action()
    assert (tmp_path / "experiment.json").read_text() == text
    assert len(content(tmp_path)) == 1


@pytest.mark.parametrize("text", ["{", "[]", '{"metrics": 3}'])
def test_damaged_result_is_left_alone(text, tiny, options, undisturbed, tmp_path):
    folder = shutil.copytree(undisturbed, tmp_path / "run")
    sealed.write(folder / "result.json", text)
    with pytest.raises(RunError, match="result.json is damaged"):
        train(tiny, folder, options)
    assert (folder / "result.json").read_text() == text


@pytest.mark.parametrize("name", ["result.json", "metrics.jsonl", "checkpoints", "curves.png"])
def test_a_folder_without_experiment_is_left_alone(name, tiny, options, tmp_path):
    """Somebody's own metrics.jsonl is not ours to rewrite."""
    (tmp_path / name).write_text("mine")
    with pytest.raises(RunError, match=f"{name} but no experiment.json"):
        train(tiny, tmp_path, options)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "mine"


@pytest.mark.fault("F6")
def test_one_process_at_a_time(tiny, options, tmp_path):
    with Folder(tmp_path).claimed():
        with pytest.raises(RunError, match=r"another process .* is running"):
            train(tiny, tmp_path, options)
        assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    train(tiny, tmp_path, options)


def test_a_diverged_run_is_finished_and_read_again(tiny, options, tmp_path):
    """NaN is null in the files and NaN in Python, and draws an empty picture."""
    diverging = replace(tiny, {"optimizer.algorithm": "sgd", "optimizer.learning_rate": 1e30, "optimizer.warmup": 0})
    for _ in range(2):
        result = train(diverging, tmp_path, dataclasses.replace(options, stop_diverged=False))
        assert math.isnan(result.metrics["test"]["loss"])
    for name in ("result.json", "metrics.jsonl"):
        assert "NaN" not in (tmp_path / name).read_text()


@pytest.mark.fault("F2")
def test_a_small_file_is_the_old_one_until_the_new_one_is_whole(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), partial_file(path) as partial:
        partial.write_text("ne")
        assert path.read_text() == "old"
        raise KeyboardInterrupt
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("result.json", "old")]
    write(path, "new")
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("result.json", "new")]


def test_seconds_add_up_over_the_parts_of_a_run(tiny, options, tmp_path):
    """What an interrupted part took is in the result of the whole."""
    clock = Clock()
    with clock.phase("step"):
        time.sleep(0.02)
    spent = clock.seconds()
    assert 0.02 <= spent["step"] <= spent["total"]
    later = Clock()
    later.carry(spent)
    assert later.seconds()["step"] == spent["step"] and later.seconds()["total"] >= spent["total"]
    with pytest.raises(Interrupted):
        train(tiny, tmp_path, dataclasses.replace(options, stop_after=6))
    manifest = next((tmp_path / "checkpoints" / "latest").glob("6/manifest/metadata"))
    before = json.loads(manifest.read_text())["seconds"]
    after = train(tiny, tmp_path, options).seconds
    assert after["total"] > before["total"] > 0


def test_commit_is_that_of_the_checkout():
    here = Path(environment.__file__).parent
    command = ["git", "-C", str(here), "rev-parse", "HEAD"]
    try:
        expected = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        expected = None
    found = environment.commit()
    assert found is None if expected is None else found.removesuffix("-dirty") == expected


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
        ({"data.test": "train"}, 'data.train "train" and data.test "train" share 1078 examples'),
    ],
)
def test_parts_that_do_not_fit_are_found_before_anything_is_written(overrides, message, tiny, options, tmp_path):
    with pytest.raises(UsageError, match=message):
        train(replace(tiny, overrides), tmp_path / "run", options)
    assert not (tmp_path / "run").exists()


def test_restore_of_no_run(tmp_path):
    with pytest.raises(RunError, match="not a run folder"):
        restore(tmp_path)


def test_files_are_utf8_whatever_the_locale(tmp_path):
    script = (
        "import sys, locale; from pathlib import Path\n"
        "from research.training.storage.files import write\n"
        "from research.training.storage.folder import Folder\n"
        "assert locale.getencoding().lower() not in ('utf-8', 'utf8'), locale.getencoding()\n"
        "write(Path(sys.argv[1], 'tokenizer.json'), 'n\\u00e9e \\U0001f642')\n"
        "Folder(sys.argv[1]).check_data({'tokenizer.json': 'n\\u00e9e \\U0001f642'})\n"
    )
    environment = {
        **os.environ,
        "LC_ALL": "C",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONPATH": str(Path(__file__).parents[3]),
    }
    words = [sys.executable, "-X", "utf8=0", "-c", script, str(tmp_path)]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "tokenizer.json").read_text(encoding="utf-8") == "née 🙂"
