"""Running a study does what is missing and nothing else."""

import dataclasses
import json
import re

import chex
import pytest

from research.ablation import Study, grid, one_at_a_time
from research.ablation.execution import running
from research.ablation.execution.dry_run import describe_plan
from research.ablation.execution.modes.choosing import Choice
from research.ablation.execution.running import ablate
from research.ablation.store.claims import Claims
from research.ablation.store.study_folder import Store, write_status
from research.errors import UsageError
from research.experiment import Start, replace
from research.training import Interrupted, restore, train
from tests.ablation.execution.small_study import STUDY, completions, statuses


@pytest.fixture(scope="module")
def finished(base, options, tmp_path_factory):
    """A study that was run one trial after the other."""
    return ablate(base, STUDY, tmp_path_factory.mktemp("study"), options, "loop")


@pytest.fixture
def trained(monkeypatch):
    """The folders in which a run was begun."""
    begun = []

    def counted(experiment, workdir, *arguments):
        begun.append(workdir)
        return train(experiment, workdir, *arguments)

    monkeypatch.setattr(running, "train", counted)
    return begun


def test_every_trial_is_a_run(finished, options, tmp_path):
    assert statuses(finished) == ["done"] * 6
    assert completions(finished) == [["done"]] * 6
    outcome = finished.outcomes()[4]
    assert (outcome.name, outcome.seed, outcome.mode) == ("learning_rate 0.05", 1, "loop")
    experiment, state = restore(outcome.folder)
    assert experiment == finished.final_trials()[4].experiment
    result = train(experiment, tmp_path, options)
    assert result.metrics == outcome.metrics
    chex.assert_trees_all_equal(restore(tmp_path)[1], state)


@pytest.mark.fault("F32")
def test_what_is_finished_is_not_run_again(finished, base, options, trained):
    before = {path: path.stat().st_mtime_ns for path in (finished.root / "trials").rglob("*")}
    ablate(base, STUDY, finished.root, options)
    assert trained == []
    assert {path: path.stat().st_mtime_ns for path in (finished.root / "trials").rglob("*")} == before


def test_a_group_gives_the_same(finished, base, options, tmp_path, capsys):
    store = ablate(base, STUDY, tmp_path, options, "vmap")
    for outcome, expected in zip(store.outcomes(), finished.outcomes(), strict=True):
        chex.assert_trees_all_close(outcome.metrics, expected.metrics, rtol=1e-4, atol=1e-5)
        assert (outcome.status, outcome.mode, outcome.fingerprint) == ("done", "vmap", expected.fingerprint)
    assert completions(store) == [["done"]] * 6
    shown = capsys.readouterr().out.splitlines()
    assert len(shown) == 7 and shown[-1] == "6 trials: 6 done"
    assert "baseline, seed 0: accuracy" in shown[0] and "5 left" in shown[0]
    (file,) = tmp_path.glob("groups/*/execution.json")
    assert json.loads(file.read_text())["size"] == 6
    with pytest.raises(UsageError, match='run as "vmap".*choose auto'):
        ablate(base, dataclasses.replace(STUDY, seeds=3), tmp_path, options, "loop")


def test_added_cells_and_seeds_run_alone(base, options, trained, tmp_path):
    ablate(base, Study(STUDY.cells[:1], seeds=1), tmp_path, options, "loop")
    assert len(trained) == 2
    store = ablate(base, STUDY, tmp_path, options)
    assert len(trained) == len(set(trained)) == 6
    assert statuses(store) == ["done"] * 6


@pytest.mark.fault("F32")
def test_an_interrupted_study_goes_on(base, options, finished, trained, tmp_path):
    with pytest.raises(Interrupted, match="6 trials: 6 planned"):
        ablate(base, STUDY, tmp_path, dataclasses.replace(options, stop_after=3), "loop")
    store = ablate(base, STUDY, tmp_path, options)
    assert completions(store) == [["stopped", "done"], *[["done"]] * 5]
    assert store.outcomes()[0].metrics == finished.outcomes()[0].metrics


def test_nuisance_settings_are_tuned_first(base, options, tmp_path):
    study = Study(
        one_at_a_time({"model.dropout": (0.4,)}),
        nuisance=grid({"optimizer.learning_rate": (0.0, 0.05)}),
        seeds=2,
        tuning_seeds=1,
        metric="loss",
    )
    assert "when they are tuned: baseline, dropout 0.4" in describe_plan(base, study, tmp_path, options)
    store = ablate(base, study, tmp_path, options, "loop")
    assert [outcome.phase for outcome in store.outcomes()] == ["tuning"] * 4 + ["final"] * 4
    assert statuses(store) == ["done"] * 8
    for cell in store.cells():
        tuned = [outcome for outcome in store.outcomes() if outcome.name.startswith(f"{cell.name} with")]
        best = min(tuned, key=lambda outcome: outcome.metrics["validation"]["loss"])
        assert cell.tuned == best.tuned


def test_mistakes_are_found_before_anything_runs(base, options, tmp_path, trained):
    for study, message in (
        (Study(one_at_a_time({"model.classes": (7,)})), "classes 7: .*10 classes"),
        (Study(one_at_a_time({"model.droput": (0.1,)})), "droput"),
        (Study(fixed={"data.train": "no_such_split"}), "no_such_split"),
    ):
        with pytest.raises(UsageError, match=message):
            ablate(base, study, tmp_path / message[:3], options)
    with pytest.raises(UsageError, match="tried again"):
        ablate(base, STUDY, tmp_path, options, retry=("done",))
    assert trained == []


@pytest.mark.slow
def test_the_run_to_begin_with_is_trained_once(base, options, tmp_path):
    begun = replace(base, {"start": (Start(replace(base, {"seed": 11}), ("dense_0",)),)})
    study = Study(one_at_a_time({"optimizer.learning_rate": (0.05,)}), seeds=1)
    for mode in ("loop", "vmap"):
        store = ablate(begun, study, tmp_path / mode, options, mode)
        assert statuses(store) == ["done"] * 2
        assert len(list((tmp_path / mode / "start").iterdir())) == 1
    results = [Store(tmp_path / mode).outcomes() for mode in ("loop", "vmap")]
    chex.assert_trees_all_close(*[[outcome.metrics for outcome in found] for found in results], rtol=1e-4, atol=1e-5)


def test_plan(finished, base, options, tmp_path, monkeypatch):
    text = describe_plan(base, STUDY, finished.root, options)
    assert "6 trials: 6 done" in text and "1 program to compile" in text and "time left: about 0 s" in text
    more = describe_plan(base, dataclasses.replace(STUDY, seeds=5), finished.root, options)
    assert "15 trials: 6 done, 9 planned" in more and "9 of 15 trials left" in more
    fresh = describe_plan(base, STUDY, tmp_path, options)
    assert "unknown time a trial, memory not known, way not chosen yet" in fresh and "6 trials of unknown time" in fresh
    assert list(tmp_path.iterdir()) == []
    timed = describe_plan(base, STUDY, tmp_path, options, timed=True)
    assert "counting steps alone" in timed and "MiB a step" in timed
    monkeypatch.setattr("research.ablation.execution.dry_run._seconds", lambda *_: 60.0)
    assert describe_plan(base, STUDY, tmp_path, options).endswith("time left: about 6 min")
    shared = describe_plan(base, STUDY, tmp_path, options, workers=2)
    assert shared.endswith("time left: about 3 min, shared by 2 processes")


def test_what_another_process_does_is_told_and_heeded(base, options, tmp_path, monkeypatch, capsys):
    """The first trial is done elsewhere, and the second fails there, while this process has its own."""
    study, elsewhere = Study(seeds=4), []

    def acquire(claims, folder, after=None):
        if folder.parent.name != "trials" or len(elsewhere) == 2:
            return acquired(claims, folder, after)
        elsewhere.append(folder)
        if len(elsewhere) == 1:
            train(replace(base, {"seed": 0}), folder, dataclasses.replace(options, progress="none"))
            write_status(folder, "done")
        else:
            write_status(folder, "failed", error="RunError: the disk is full")
        return None

    acquired = Claims.acquire
    monkeypatch.setattr(Claims, "acquire", acquire)
    store = ablate(base, study, tmp_path, options, "loop", fail_fast=True)
    assert [outcome.status for outcome in store.outcomes()] == ["done", "failed", "planned", "planned"]
    first, second, *_ = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"baseline, seed 0: accuracy 0\.\d{4}, \d+\.\d s, 3 left", first)
    assert second == "baseline, seed 1: failed, RunError: the disk is full, 2 left"
    assert ablate(base, study, tmp_path, options, "loop").outcomes()[3].status == "done"


def test_processes_that_share_a_group_leave_some_to_each_other(base, options, tmp_path, monkeypatch):
    asked = []

    def choose(experiments, *_):
        asked.append(len(experiments))
        return Choice("loop", 1, "")

    monkeypatch.setattr(running, "choose", choose)
    stopped = dataclasses.replace(options, stop_after=1)
    for workers in (1, 2):
        with pytest.raises(Interrupted):
            ablate(base, Study(seeds=5), tmp_path / str(workers), stopped, workers=workers)
    assert asked == [5, 3]
