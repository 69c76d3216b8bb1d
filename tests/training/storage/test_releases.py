"""Runs of every release so far are read, evaluated and trained on; see tests/fixtures/make_run.py, which made them."""

import dataclasses
import json
import math
import shutil
from pathlib import Path

import chex
import pytest

from research.errors import RunError, UsageError
from research.experiment import replace, to_json
from research.training import evaluate, restore, train
from research.training.identity import UNKNOWN
from research.training.storage.folder import Folder
from tests.fixtures.make_run import EXPERIMENT, OPTIONS, RELEASES

VERSIONS = sorted(folder.name for folder in RELEASES.iterdir())
pytestmark = pytest.mark.fault("F19")


@pytest.fixture(params=VERSIONS)
def run(request, tmp_path) -> Path:
    """A copy of the run, since reading it must not be all that is done with it."""
    return shutil.copytree(RELEASES / request.param, tmp_path / request.param)


def test_it_is_read_and_evaluated(run, data_dir):
    experiment, state = restore(run)
    assert experiment == EXPERIMENT and int(state.step) == 4
    _, best = restore(run, "best")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    (written,) = [line for line in lines if line["step"] == int(best.step) and line["split"] == "validation"]
    found = evaluate(experiment, best, "validation", OPTIONS.__class__(data_dir=data_dir))
    assert math.isclose(found["loss"], written["loss"], rel_tol=1e-5)
    assert found["accuracy"] == written["accuracy"]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_it_is_trained_on(run, data_dir, tmp_path):
    """To what a run of this release comes to, apart from how its compiler orders sums; it is asked for, as no release
    so far wrote down its code."""
    options = OPTIONS.__class__(**{**vars(OPTIONS), "data_dir": data_dir})
    before = (run / "metrics.jsonl").read_bytes()
    with pytest.raises(UsageError, match=UNKNOWN):
        train(EXPERIMENT, run, options)
    result = train(EXPERIMENT, run, dataclasses.replace(options, accept_code_change=True))
    assert result.steps == 6 and (run / "metrics.jsonl").read_bytes().startswith(before)
    train(EXPERIMENT, tmp_path / "new", options)
    (_, state), (_, expected) = restore(run), restore(tmp_path / "new")
    chex.assert_trees_all_close(state, expected, rtol=1e-4, atol=1e-6)


def test_a_state_that_is_another_now_says_which_leaf(run):
    """As after a change of a model: what is saved is not taken for something else, and stays as it is."""
    other = replace(EXPERIMENT, {"model.hidden": (4,)})
    Folder(run).experiment.write_text(to_json(other))
    with pytest.raises(
        RunError,
        match=r"saved by other code: params\.dense_0\.bias is float32\(3,\) in it and float32\(4,\) now; go back to",
    ):
        restore(run)
    assert not (run / "checkpoints" / "damaged").exists()
