"""Screening: who advances, and that whoever does is the run that nobody had stopped."""

import csv
import json
import math
import os
import re
import shutil
import signal

import chex
import pytest

from research.ablation import Study, grid, one_at_a_time
from research.ablation.design.study import TUNING
from research.ablation.execution import running
from research.ablation.execution.running import Sweep, ablate
from research.ablation.store.claims import Claims
from research.ablation.store.study_folder import MARK, Store, check_unscreened, write_status
from research.ablation.strategies import halving
from research.ablation.strategies.halving import Below, Rungs, climb, open_screening, screen, survivors
from research.errors import RunError, UsageError
from research.experiment import RunOptions, replace
from research.training import Interrupted, identity, restore, train
from research.training.identity.code import current
from research.training.storage.folder import Folder

RUNGS = Rungs((2, 4))
STUDY = Study(one_at_a_time({"optimizer.learning_rate": (0.05, 1e-9, 0.01, 2e-9)}), seeds=2, metric="loss")


@pytest.fixture(scope="module")
def base(experiment):
    return replace(experiment, {"steps": 6, "model.channels": (3,), "data.shift": 0})


@pytest.fixture(scope="module")
def options(data_dir):
    return RunOptions(data_dir=data_dir, log_every=2, evaluate_every=2, progress="none")


@pytest.fixture(scope="module")
def screened(base, options, tmp_path_factory):
    root = tmp_path_factory.mktemp("screened")
    screen(base, STUDY, root, Rungs((2, 4), 0.5), options, "vmap")
    return root


def steps(root):
    """How far the latest run of each cell came, by the learning rate of the cell."""
    found = {}
    for outcome in Store(root).outcomes():
        lines = halving.validations(outcome.folder)
        found.setdefault(outcome.name, set()).add(max(lines, default=0))
    return found


def test_survivors_by_hand():
    assert survivors([9.0, 3.0, 1.0, 2.0], 1 / 3, maximize=False) == [0, 2]
    assert survivors([9.0, 3.0, 1.0, 2.0], 1 / 3, maximize=True) == [0, 1]
    assert survivors([0.0, 5.0, 5.0, 5.0, 5.0], 0.5, maximize=True) == [0, 1, 2]  # of equals the earlier
    assert survivors([math.nan, math.nan, 1.0, math.inf], 0.4, maximize=False) == [0, 2]
    assert survivors([0.0, *[float(number) for number in range(9)]], 1 / 3, maximize=True) == [0, 7, 8, 9]
    assert survivors([1.0, math.nan], 0.1, maximize=True) == [0, 1]  # at least one
    assert survivors([1.0], 0.5, maximize=True) == [0]


def test_the_better_half_goes_on_and_the_rest_stays_where_it_was(screened):
    assert steps(screened) == {
        "baseline": {6},
        "learning_rate 0.05": {6},
        "learning_rate 1e-09": {2},
        "learning_rate 0.01": {4},
        "learning_rate 2e-09": {2},
    }
    outcomes = Store(screened).outcomes()
    assert {outcome.seed for outcome in outcomes} == {TUNING, TUNING + 1}
    pruned = [outcome for outcome in outcomes if outcome.status == "pruned"]
    assert sorted({outcome.name for outcome in pruned}) == [
        f"learning_rate {rate}" for rate in ("0.01", "1e-09", "2e-09")
    ]
    assert {json.loads((outcome.folder / "status.json").read_text())["step"] for outcome in pruned} == {2, 4}
    with (screened / "screening.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["cell", "status", "step", "validation loss"]
    assert [row[1:3] for row in rows[1:]] == [
        ["done", "6"],
        ["done", "6"],
        ["pruned", "4"],
        ["pruned", "2"],
        ["pruned", "2"],
    ]
    losses = [outcome.metrics["validation"]["loss"] for outcome in outcomes if outcome.name == "learning_rate 0.05"]
    assert rows[1][0] == "learning_rate 0.05" and float(rows[1][3]) == pytest.approx(sum(losses) / 2)


def test_a_screening_is_not_run_again_and_never_tested(screened, base, options, monkeypatch):
    def refused(*arguments):
        raise AssertionError("something was trained again")

    monkeypatch.setattr(running, "train", refused)
    monkeypatch.setattr(running, "train_together", refused)
    found = screen(base, STUDY, screened, Rungs((2, 4), 0.5), options, "vmap")
    assert [standing.status for standing in found] == ["done", "done", "pruned", "pruned", "pruned"]
    with pytest.raises(UsageError, match="nothing in it can be tested"):
        check_unscreened(screened)
    with pytest.raises(UsageError, match="nothing in it can be tested"):
        ablate(base, STUDY, screened, options)
    with pytest.raises(UsageError, match="was not screened with these rungs"):
        screen(base, STUDY, screened, Rungs((2,), 0.5), options)
    with pytest.raises(UsageError, match="was not screened with these rungs, cells and seeds"):
        screen(base, Study(STUDY.cells, seeds=3, metric="loss"), screened, Rungs((2, 4), 0.5), options)


@pytest.mark.fault("F29")
@pytest.mark.parametrize(
    "content",
    ["", "[]", '{"steps": 2}', '{"scores": 3}', '{"scores": {}, "going on": 5}', '{"scores": {"baseline": []}}'],
)
def test_a_damaged_file_is_named(content, screened, tmp_path):
    root = shutil.copytree(screened, tmp_path / "screened")
    for file in (root / MARK, halving.rung_file(Store(root), 2)):
        sound = file.read_text()
        file.write_text(content)
        with pytest.raises(RunError, match=f"^{re.escape(str(file))} is damaged: "):
            halving.standings(Store(root))
        file.write_text(sound)
    assert len(halving.standings(Store(root))) == 5


def test_interrupted_in_every_rung_a_survivor_is_the_run_that_nobody_had_stopped(base, options, tmp_path, monkeypatch):
    """One run after the other, so that it is equal at tolerance zero."""
    study = Study(STUDY.cells[:2], seeds=1, metric="loss")
    begun = []

    def stopping(experiment, folder, *arguments):
        begun.append(folder)
        if len(begun) % 2:
            raise KeyboardInterrupt
        return train(experiment, folder, *arguments)

    monkeypatch.setattr(running, "train", stopping)
    for _ in range(20):
        try:
            found = screen(base, study, tmp_path / "screened", RUNGS, options, "loop")
            break
        except KeyboardInterrupt:
            pass
    assert len(begun) == 2 * 7  # 3 cells to step 2, 2 to step 4, 2 to the end; each begun twice
    assert [(item.cell.name, item.step, item.status) for item in found] == [
        ("learning_rate 0.05", 6, "done"),
        ("baseline", 6, "done"),
        ("learning_rate 1e-09", 2, "pruned"),
    ]
    for outcome in Store(tmp_path / "screened").outcomes():
        if outcome.status == "done":
            experiment, state = restore(outcome.folder)
            folder = tmp_path / "alone" / outcome.folder.name
            assert train(experiment, folder, options).metrics == outcome.metrics
            chex.assert_trees_all_equal(state, restore(folder)[1])
            assert (folder / "metrics.jsonl").read_text() == (outcome.folder / "metrics.jsonl").read_text()


def test_what_another_process_has_brought_to_its_rung_is_left_alone(base, options, tmp_path, monkeypatch):
    """Handed to `train` again it would pass the rung, and run to its end."""
    monkeypatch.setattr(running, "train", lambda *arguments: pytest.fail("trained past its rung"))
    store = open_screening(base, Study((), seeds=1, metric="loss"), tmp_path, RUNGS, options)
    (trial,) = store.final_trials()
    write_status(store.folder(trial), "planned")
    identity.record(Folder(store.folder(trial)), current(trial.experiment))
    (store.folder(trial) / "metrics.jsonl").write_text('{"step": 2, "split": "validation", "loss": 1.0}\n')
    with Claims() as claims:
        below = Below()
        sweep = Sweep(store, options, "loop", (), False, claims, lambda: False, wanted=below)
        climb(sweep, store, below, store.cells(), 2)
        sweep.run([trial], "final")
    assert not (store.folder(trial) / "attempts").exists()


def test_a_cell_that_fails_is_pruned_and_shown(base, options, tmp_path, monkeypatch):
    def fragile(experiment, *arguments):
        if experiment.optimizer.learning_rate == 1e-9:
            raise MemoryError("none left")
        return train(experiment, *arguments)

    monkeypatch.setattr(running, "train", fragile)
    study = Study(STUDY.cells[:3], seeds=1, metric="loss")
    found = screen(base, study, tmp_path, Rungs((2,)), options, "loop")
    assert [(item.cell.name, item.status) for item in found] == [
        ("learning_rate 0.05", "done"),
        ("baseline", "done"),
        ("learning_rate 0.01", "pruned"),
        ("learning_rate 1e-09", "failed"),
    ]
    assert "MemoryError" in next(outcome.error for outcome in Store(tmp_path).outcomes() if outcome.status == "failed")


@pytest.mark.parametrize(
    ("study", "rungs", "changes", "message"),
    [
        (STUDY, (3,), {}, "evaluation at step 3, and evaluate_every is 2: set it to a divisor, such as 3"),
        (STUDY, (2,), {"evaluate_every": 0}, "evaluate_every is 0"),
        (STUDY, (2, 6), {}, "baseline has 6 steps, none left after rung 6"),
        (STUDY, (4, 2), {}, "ascending steps of at least 1, not 4, 2"),
        (STUDY, (), {}, "ascending steps"),
        (Study(nuisance=grid({"optimizer.learning_rate": (0.1,)})), (2,), {}, "tunes no nuisance settings"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_runs(study, rungs, changes, message, base, data_dir, tmp_path):
    options = RunOptions(**{"data_dir": data_dir, "evaluate_every": 2, **changes})
    with pytest.raises(UsageError, match=message):
        screen(base, study, tmp_path / "new", Rungs(rungs), options)
    assert not (tmp_path / "new").exists()


def test_a_signal_is_no_rung(base, options, tmp_path, monkeypatch):
    """What ends a run at its rung and what ends it for good are told apart."""

    def signalled(*arguments):
        os.kill(os.getpid(), signal.SIGTERM)
        return train(*arguments)

    monkeypatch.setattr(running, "train", signalled)
    with pytest.raises(Interrupted, match="3 planned.*the same command resumes"):
        screen(base, Study(STUDY.cells[:2], seeds=1, metric="loss"), tmp_path, Rungs((2, 4)), options, "loop")
    assert not (tmp_path / "rungs").exists()
