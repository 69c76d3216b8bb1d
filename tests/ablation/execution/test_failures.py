"""Trials that fail, are tried again or are interrupted, and the others, which go on."""

import json
import os

import numpy as np
import pytest

from research import training
from research.ablation import Study, one_at_a_time
from research.ablation.execution import running
from research.ablation.execution.modes.choosing import Choice
from research.ablation.execution.running import ablate
from research.ablation.store.claims import Claim
from research.errors import RunError
from research.experiment import replace
from research.training import train
from tests.ablation.execution.small_study import STUDY, completions, statuses


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


def test_an_error_of_ours_is_shown_without_its_kind():
    assert running.sentence(RunError("no room")) == "no room"
    assert running.sentence(KeyError("x")) == "KeyError: 'x'"
    assert training.Interrupted in RunError.__subclasses__()
