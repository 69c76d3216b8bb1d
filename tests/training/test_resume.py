"""Interrupted equals uninterrupted, bit for bit."""

import dataclasses
import json
import os
import re
import signal
import time

import chex
import jax
import numpy as np
import pytest

from research.experiment import replace
from research.training import Interrupted, restore, train
from tests.training import forking

LONG = ["--smoke", "--steps", "300", "--log_every", "5", "--checkpoint_every", "40", "--evaluate_every", "70"]


def assert_same_run(folder, reference):
    """Every leaf of the last state, every byte of the journal, and the metrics of the result are equal."""
    (_, state), (_, expected) = restore(folder), restore(reference)
    assert len(jax.tree.leaves(state)) == len(jax.tree.leaves(expected)) > 10
    chex.assert_trees_all_equal(state, expected)
    assert (folder / "metrics.jsonl").read_bytes() == (reference / "metrics.jsonl").read_bytes()
    results = [json.loads((path / "result.json").read_text()) for path in (folder, reference)]
    assert results[0]["metrics"] == results[1]["metrics"]
    assert results[0]["details"] == results[1]["details"]


@pytest.mark.fault("F1", "F7")
@pytest.mark.parametrize("k", (1, 4, 5, 6, 11))
def test_resume_after_a_step(k, tiny, options, undisturbed, tmp_path):
    with pytest.raises(Interrupted, match=f"step {k} of 12"):
        train(tiny, tmp_path, dataclasses.replace(options, stop_after=k))
    _, state = restore(tmp_path)
    assert int(state.step) == k
    train(tiny, tmp_path, options)
    assert_same_run(tmp_path, undisturbed)


@pytest.mark.fault("F1")
def test_resume_after_every_step(tiny, options, undisturbed, tmp_path):
    for k in range(1, 12):
        with pytest.raises(Interrupted):
            train(tiny, tmp_path, dataclasses.replace(options, stop_after=k))
    train(tiny, tmp_path, options)
    assert_same_run(tmp_path, undisturbed)


@pytest.mark.fault("F10")
@pytest.mark.parametrize("residency", ["ram", "device", "stream"])
def test_resume_with_the_data_elsewhere(residency, tiny, options, undisturbed, tmp_path):
    """And back again, in the middle of an epoch."""
    elsewhere = dataclasses.replace(options, residency=residency)
    for stop, chosen in ((5, elsewhere), (7, options)):
        with pytest.raises(Interrupted):
            train(tiny, tmp_path, dataclasses.replace(chosen, stop_after=stop))
    train(tiny, tmp_path, elsewhere)
    assert_same_run(tmp_path, undisturbed)


def test_other_seed_gives_other_numbers(tiny, options, undisturbed, tmp_path):
    train(replace(tiny, {"seed": 4}), tmp_path, options)
    (_, state), (_, expected) = restore(tmp_path), restore(undisturbed)
    assert not np.array_equal(jax.tree.leaves(state.params)[0], jax.tree.leaves(expected.params)[0])


def test_finished_run_is_not_trained_again(tiny, options, undisturbed):
    before = {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()}
    result = train(tiny, undisturbed, options)
    assert result.metrics["test"]["accuracy"] > 0
    assert {path: path.stat().st_mtime_ns for path in undisturbed.rglob("*") if path.is_file()} == before


def test_lost_result_is_written_again(tiny, options, undisturbed, tmp_path):
    train(tiny, tmp_path, options)
    (tmp_path / "result.json").unlink()
    train(tiny, tmp_path, options)
    assert_same_run(tmp_path, undisturbed)


@pytest.fixture(scope="module")
def start(data_dir, programs):
    """Starts a run in a process of its own; returns that and the file it prints to."""

    def start(workdir):
        return forking.start([*LONG, "--workdir", str(workdir), "--data_dir", data_dir], programs)

    return start


def finish(process, log):
    """Wait for a run to end well and return what it printed."""
    ended = forking.finish(process, log)
    assert ended.code == 0, ended.text
    return ended.text


def strike(process, log, workdir, step, *numbers):
    """Send a run signals once its journal has come to `step`, and return how it ended."""
    wait_for_step(process, log, workdir, step)
    for number in numbers:
        os.kill(process.pid, number)
    return forking.finish(process, log)


def wait_for_step(process, log, workdir, step):
    """Return once the journal of a run has come to `step`."""
    deadline = time.monotonic() + 120
    while process.exitcode is None and time.monotonic() < deadline:
        journal = workdir / "metrics.jsonl"
        if journal.exists() and len(journal.read_text().splitlines()) >= step // 5:
            return
        time.sleep(0.001)
    raise AssertionError(f"never came to step {step}: {log.read_text()}")


@pytest.fixture(scope="module")
def left_alone(start, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    finish(*start(folder))
    return folder


@pytest.mark.slow
@pytest.mark.fault("F2")
@pytest.mark.parametrize("step", [5, 117])
def test_kill_then_the_same_command(step, start, left_alone, tmp_path):
    assert strike(*start(tmp_path), tmp_path, step, signal.SIGKILL).code == -signal.SIGKILL
    assert not (tmp_path / "result.json").exists()
    finish(*start(tmp_path))
    assert_same_run(tmp_path, left_alone)


@pytest.mark.slow
@pytest.mark.fault("F4")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_saves_and_exits_with_75(number, start, left_alone, tmp_path):
    ended = strike(*start(tmp_path), tmp_path, 50, number)
    assert ended.code == 75
    assert "once more stops at once" in ended.text and "the same command resumes" in ended.text
    assert "Traceback" not in ended.text
    assert "resumed at step" in finish(*start(tmp_path))
    assert_same_run(tmp_path, left_alone)


@pytest.mark.slow
@pytest.mark.fault("F4")
def test_second_signal_stops_at_once(start, left_alone, tmp_path):
    """And says at which step it resumes, or before it, where a later one was just being saved."""
    ended = strike(*start(tmp_path), tmp_path, 100, signal.SIGTERM, signal.SIGINT)
    assert ended.code == 130
    said = re.search(r"^stopped at once at step \d+ of 300: step (\d+) is the last that is saved in", ended.text, re.M)
    resumed = re.search(r"^resumed at step (\d+)$", finish(*start(tmp_path)), re.M)
    assert 0 < int(said[1]) <= int(resumed[1])
    assert_same_run(tmp_path, left_alone)
