"""Running a study does what is missing and nothing else."""

import contextlib
import dataclasses
import json
import os
import re

import chex
import numpy as np
import pytest

from research import training
from research.ablation import Study, grid, one_at_a_time
from research.ablation.execution import running
from research.ablation.execution.dry_run import describe_plan
from research.ablation.execution.modes.choosing import (
    Choice,
    balanced,
    candidates,
    choose,
    halved,
    reduced,
    steps_of_a_call,
)
from research.ablation.execution.modes.measuring import Measurement
from research.ablation.execution.running import ablate, adapted, for_trials
from research.ablation.store.claims import Claim, Claims
from research.ablation.store.study_folder import Store, write_status
from research.devices.cache import Compilations
from research.errors import RunError, UsageError
from research.experiment import Placement, RunOptions, Start, replace
from research.training import Interrupted, restore, train
from research.training.initialization.start import first_state
from research.training.loop import open_splits

STUDY = Study(one_at_a_time({"optimizer.learning_rate": (0.05,), "model.dropout": (0.4,)}), seeds=2)


@pytest.fixture(scope="module")
def base(experiment):
    return replace(experiment, {"steps": 4, "model.channels": (3,)})


@pytest.fixture(scope="module")
def options(data_dir):
    return RunOptions(data_dir=data_dir, log_every=2, evaluate_every=3, progress="lines")


@pytest.fixture(scope="module")
def finished(base, options, tmp_path_factory):
    """A study that was run one trial after the other."""
    return ablate(base, STUDY, tmp_path_factory.mktemp("study"), options, "loop")


def statuses(store):
    return [outcome.status for outcome in store.outcomes()]


def completions(store):
    """How each attempt of each trial ended."""
    return [
        [json.loads(file.read_text()).get("over") for file in sorted((outcome.folder / "attempts").iterdir())]
        for outcome in store.outcomes()
    ]


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


def failing(monkeypatch, when):
    """Let runs whose experiment is so fail."""

    def broken(experiment, workdir, *arguments):
        if when(experiment):
            raise FloatingPointError("out of numbers\nentirely")
        return train(experiment, workdir, *arguments)

    monkeypatch.setattr(running, "train", broken)


@pytest.mark.fault("F32")
def test_a_failing_cell_is_recorded_and_the_others_go_on(base, options, tmp_path, monkeypatch, capsys):
    failing(monkeypatch, lambda experiment: experiment.optimizer.learning_rate == 0.05)
    store = ablate(base, STUDY, tmp_path, options, "loop")
    assert statuses(store) == ["done", "failed", "done"] * 2
    outcome = store.outcomes()[1]
    assert outcome.error == "FloatingPointError: out of numbers"
    assert outcome.traceback.startswith("Traceback") and "in broken" in outcome.traceback
    assert "learning_rate 0.05, seed 0: failed, FloatingPointError: out of numbers" in capsys.readouterr().out

    monkeypatch.undo()
    ablate(base, STUDY, tmp_path, options)
    assert statuses(store) == ["done", "failed", "done"] * 2, "what failed is left until it is asked for"
    ablate(base, STUDY, tmp_path, options, retry=("failed",))
    assert statuses(store) == ["done"] * 6
    assert completions(store)[1] == ["failed", "done"]
    assert store.outcomes()[1].error == ""


@pytest.mark.fault("F32")
def test_a_cell_that_does_not_fit_in_memory_fails_alone(base, options, tmp_path):
    """64 terabytes of weights: the allocation fails at once, wherever this runs."""
    study = Study(one_at_a_time({"model.dense": ((4_000_000, 4_000_000),)}), seeds=1)
    store = ablate(base, study, tmp_path, options)
    assert statuses(store) == ["done", "failed"]
    assert "Out of memory" in store.outcomes()[1].error


def test_what_is_tried_again_is_so_once(base, options, tmp_path, monkeypatch):
    failing(monkeypatch, lambda experiment: True)
    for _ in range(2):
        store = ablate(base, Study(seeds=2), tmp_path, options, "loop", retry=("failed",))
    assert completions(store) == [["failed", "failed"]] * 2


def test_what_another_process_tried_again_is_left(base, options, tmp_path, monkeypatch):
    """While this one is at the first trial, another one tries the second again."""
    failing(monkeypatch, lambda experiment: True)
    store = ablate(base, Study(seeds=2), tmp_path, options, "loop")
    broken, calls = running.train, []

    def busy(experiment, workdir, *arguments):
        calls.append(workdir)
        if len(calls) == 1:
            ablate(base, Study(seeds=2), tmp_path, options, retry=("failed",))
        return broken(experiment, workdir, *arguments)

    monkeypatch.setattr(running, "train", busy)
    ablate(base, Study(seeds=2), tmp_path, options, retry=("failed",))
    assert completions(store) == [["failed", "failed"]] * 2


def test_fail_fast(base, options, tmp_path, monkeypatch):
    failing(monkeypatch, lambda experiment: experiment.optimizer.learning_rate == 0.05)
    store = ablate(base, STUDY, tmp_path, options, "loop", fail_fast=True)
    assert statuses(store) == ["done", "failed", *["planned"] * 4]


def test_a_diverged_trial_is_kept_and_can_be_run_again(base, options, tmp_path):
    diverging = replace(base, {"optimizer.learning_rate": 1e30, "optimizer.warmup": 0})
    store = ablate(diverging, Study(seeds=1), tmp_path, options, "loop")
    (outcome,) = store.outcomes()
    assert outcome.status == "diverged" and np.isnan(outcome.metrics["test"]["loss"])
    file = outcome.folder / "result.json"
    before = file.stat().st_mtime_ns
    ablate(diverging, Study(seeds=1), tmp_path, options)
    assert completions(store) == [["diverged"]] and file.stat().st_mtime_ns == before
    ablate(diverging, Study(seeds=1), tmp_path, options, retry=("diverged",))
    assert completions(store) == [["diverged", "diverged"]] and file.stat().st_mtime_ns > before


def test_a_full_disk_fails_a_trial_and_not_the_study(base, options, tmp_path, monkeypatch):
    """The first folder cannot even be claimed."""
    acquire = running.Claims.acquire
    full = []

    def limited(self, folder, after=None):
        if folder.parent.name == "trials" and not full:
            full.append(folder)
            raise OSError(28, os.strerror(28))
        return acquire(self, folder, after)

    monkeypatch.setattr(running.Claims, "acquire", limited)
    store = ablate(base, STUDY, tmp_path, options, "loop")
    assert statuses(store) == ["failed", *["done"] * 5]


@pytest.mark.fault("F32")
def test_what_was_taken_over_meanwhile_is_left_to_the_other(base, options, tmp_path, monkeypatch, caplog):
    """By a process that thought this one dead, as after the sleep of a laptop."""

    def slow(experiment, workdir, *arguments):
        Claim(workdir, 2).file.write_text(json.dumps({"host": "elsewhere", "pid": 1, "born": "1"}))
        raise FloatingPointError("too late")

    monkeypatch.setattr(running, "train", slow)
    (outcome,) = ablate(base, Study(seeds=1), tmp_path, options, "loop").outcomes()
    assert (outcome.status, outcome.error) == ("running", "")
    assert "was taken over by another process" in caplog.text


@pytest.mark.fault("F32")
def test_an_interrupted_study_goes_on(base, options, finished, trained, tmp_path):
    with pytest.raises(Interrupted, match="6 trials: 6 planned"):
        ablate(base, STUDY, tmp_path, dataclasses.replace(options, stop_after=3), "loop")
    store = ablate(base, STUDY, tmp_path, options)
    assert completions(store) == [["stopped", "done"], *[["done"]] * 5]
    assert store.outcomes()[0].metrics == finished.outcomes()[0].metrics


def test_memory_that_runs_out_halves_the_chunk(base, options, tmp_path, monkeypatch):
    sizes = []

    def limited(experiments, folders, splits, options, mode, size, interrupted, ended):
        sizes.append(size)
        if size > 2:
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory allocating 9 bytes")
        for index, (experiment, folder) in enumerate(zip(experiments, folders, strict=True)):
            ended(index, train(experiment, folder, options, splits))

    monkeypatch.setattr(running, "train_together", limited)
    monkeypatch.setattr(running, "choose", lambda *arguments: Choice("vmap", 4, "asked for"))
    store = ablate(base, STUDY, tmp_path, options)
    assert sizes == [4, 2, 2, 2]
    assert statuses(store) == ["done"] * 6
    (file,) = tmp_path.glob("groups/*/execution.json")
    assert json.loads(file.read_text())["size"] == 2


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


def measured(monkeypatch, seconds):
    """Let measuring give {(mode, size): seconds a step}, and count."""
    asked = []

    def measure(experiments, splits, options, mode, size):
        asked.append((mode, size))
        found = seconds[mode, size]
        if isinstance(found, Exception):
            raise found
        steps = options.steps_per_call
        if not isinstance(found, Measurement):
            return Measurement(mode, size, found / steps, 1.0, 100 * size, steps_per_call=steps)
        return found

    monkeypatch.setattr("research.ablation.execution.modes.choosing.measure", measure)
    return asked


def test_what_is_compiled_to_measure_is_not_compiled_again_to_run(base, options, tmp_path):
    several = [replace(base, {"seed": seed, "model.channels": (2,)}) for seed in range(2)]
    splits = open_splits(several[0], options)
    assert choose(several, splits, options, "auto", True).mode == "loop"
    with contextlib.closing(Compilations()) as compilations:
        first_state(several[0], tmp_path, options)
    assert (compilations.found, compilations.compiled) == (0, 0)


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


def test_the_fastest_way_is_chosen(base, options, monkeypatch):
    """A way must beat the loop by more than noise, and is not tried where little is left to do."""
    eight = [replace(base, {"steps": 1000, "seed": seed}) for seed in range(8)]
    asked = measured(monkeypatch, {("loop", 1): 0.1, ("vmap", 8): 0.08})
    assert choose(eight, {}, options, "auto", True).mode == "vmap"
    assert asked == [("loop", 1), ("vmap", 8)]
    measured(monkeypatch, {("loop", 1): 0.1, ("vmap", 8): 0.095})
    assert choose(eight, {}, options, "auto", True).mode == "loop"
    asked = measured(monkeypatch, {("loop", 1): 0.00035})
    assert choose(eight, {}, options, "auto", True).mode == "loop" and asked == [("loop", 1)]
    asked = measured(monkeypatch, {("loop", 1): 0.02})
    few = [replace(experiment, {"steps": 120}) for experiment in eight]
    assert choose(few, {}, options, "auto", True).mode == "loop" and asked == [("loop", 1)]
    measured(monkeypatch, {("loop", 1): 0.1, ("vmap", 8): NotImplementedError("no batching rule")})
    choice = choose(eight, {}, options, "auto", True)
    assert choice.mode == "loop" and "no batching rule" in choice.measurements[1].error
    assert choose(eight[:1], {}, options, "auto", True).mode == "loop"
    assert choose(eight, {}, options, "vmap", False).mode == "loop", "they do not share their examples"


def test_where_a_step_takes_no_time_a_call_takes_many(base, options, monkeypatch):
    """One way is tried sooner there: eight thousand steps of 0.29 milliseconds are 2.3 times the compilation."""
    eight = [replace(base, {"steps": 1000, "seed": seed}) for seed in range(8)]
    asked = measured(monkeypatch, {("loop", 1): 0.00029, ("vmap", 8): 0.016})
    choice = choose(eight, {}, options, "auto", True)
    assert (choice.mode, choice.size, choice.steps_per_call) == ("loop", 1, 50)
    assert asked == [("loop", 1), ("vmap", 8), ("loop", 1)]
    asked = measured(monkeypatch, {("loop", 1): 0.00029, ("vmap", 8): 0.0001})
    choice = choose(eight, {}, options, "auto", True)
    assert (choice.mode, choice.size, choice.steps_per_call) == ("vmap", 8, 50)
    assert asked == [("loop", 1), ("vmap", 8)], "what is left is not worth another try"
    more = [replace(experiment, {"steps": 100_000}) for experiment in eight]
    asked = measured(monkeypatch, {("loop", 1): 0.00029, ("vmap", 8): 0.001})
    assert choose(more, {}, options, "auto", True).mode == "vmap" and asked == [("loop", 1), ("vmap", 8)]
    asked = measured(monkeypatch, {("loop", 1): 0.00029, ("vmap", 8): 0.01})
    assert choose(more, {}, options, "auto", True).mode == "loop" and len(asked) == 3
    measured(monkeypatch, {("loop", 1): 0.0002})
    assert choose(eight, {}, options, "auto", True).steps_per_call == 1, "too little is left to do"


def test_where_a_step_takes_little_time_a_call_takes_several(base, options, monkeypatch):
    assert [steps_of_a_call(seconds) for seconds in (1e-4, 1.9e-3, 2.1e-3, 9e-3, 1.1e-2, 2.1e-2)] == [
        50,
        50,
        10,
        10,
        5,
        1,
    ]
    eight = [replace(base, {"steps": 1000, "seed": seed}) for seed in range(8)]
    times = {("loop", 1): 0.005, ("vmap", 8): 0.04}
    monkeypatch.setattr("research.ablation.execution.modes.choosing.cores", lambda: 2)
    asked = measured(monkeypatch, times)
    choice = choose(eight, {}, options, "auto", True)
    assert (choice.mode, choice.size, choice.steps_per_call) == ("loop", 1, 10)
    assert asked == [("loop", 1), ("loop", 1), ("vmap", 8)]
    monkeypatch.setattr("research.ablation.execution.modes.choosing.cores", lambda: 1)
    asked = measured(monkeypatch, times)
    assert choose(eight, {}, options, "auto", True).steps_per_call == 10
    assert asked == [("loop", 1), ("loop", 1)], "on one core nothing is gained by running them together"


def test_memory_bounds_how_many_run_together(base, options, monkeypatch):
    """100 bytes alone and 800 for eight: 100 more for each, so 500 hold five."""
    eight = [replace(base, {"steps": 1000, "seed": seed}) for seed in range(8)]
    monkeypatch.setattr("research.ablation.execution.modes.choosing.available", lambda: 500 / 0.8)
    too_much = Measurement("vmap", 8, bytes=800, error="needs 0.0 GiB")
    measured(monkeypatch, {("loop", 1): 0.1, ("vmap", 8): too_much, ("vmap", 5): 0.05})
    choice = choose(eight, {}, options, "auto", True)
    assert (choice.mode, choice.size) == ("vmap", 5)
    measured(
        monkeypatch, {("vmap", 8): MemoryError(), ("vmap", 4): RuntimeError("RESOURCE_EXHAUSTED"), ("vmap", 2): 1.0}
    )
    assert choose(eight, {}, options, "vmap", True).size == 2
    assert reduced(too_much, None) == 4


def test_checkpoints_of_a_study_are_half_a_minute_apart():
    """A hundred steps of eight trials that take 10 ms each are eight seconds: three times as many are 24."""
    options = RunOptions(checkpoint_every=100)
    found = Measurement("vmap", 8, 0.01)
    assert adapted(options, Choice("vmap", 8, "measured", (found,))).checkpoint_every == 300
    assert adapted(options, Choice("vmap", 4, "measured", (found,))).checkpoint_every == 100  # not measured
    slow = dataclasses.replace(found, step_seconds=1.0)
    assert adapted(options, Choice("vmap", 8, "measured", (slow,))).checkpoint_every == 100


def test_sizes():
    assert [balanced(n, 8) for n in (1, 7, 8, 9, 17)] == [1, 7, 8, 5, 6]
    assert list(candidates(20)) == [("vmap", 7)]
    assert halved(Choice("vmap", 5, "")).size == 2 and halved(Choice("vmap", 1, "")) is None


def test_an_error_of_ours_is_shown_without_its_kind():
    assert running.sentence(RunError("no room")) == "no room"
    assert running.sentence(KeyError("x")) == "KeyError: 'x'"
    assert training.Interrupted in RunError.__subclasses__()


def test_devices_share_the_trials_unless_each_trial_has_a_placement_of_its_own():
    one = RunOptions(placement=Placement(data=1), stop_diverged=False)
    assert for_trials(RunOptions(), "vmap") == (one, "vmap")
    many = RunOptions(placement=Placement(fsdp=2))
    each = dataclasses.replace(many, stop_diverged=False)
    assert for_trials(many, "auto") == for_trials(many, "loop") == (each, "loop")
    with pytest.raises(UsageError, match='together, as "vmap" does, are on one device each: choose loop'):
        for_trials(many, "vmap")
    with pytest.raises(UsageError, match="--profile is for a single run"):
        for_trials(RunOptions(profile="1:2"), "auto")
