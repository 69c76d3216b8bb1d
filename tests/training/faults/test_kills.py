"""Killed or asked to stop at the worst of moments, a run loses nothing: the same command ends as if left alone."""

import functools
import os
import re
import signal
import subprocess
import sys

import chex
import pytest

from research.training import restore
from tests.training import forking
from tests.training.faults import injected

# Two epochs of exactly 14 steps.
WORDS = "--smoke --steps 28 --batch_size 77 --log_every 2 --checkpoint_every 5 --evaluate_every 7 --progress lines"
KILL, TERM = signal.SIGKILL, signal.SIGTERM
pytestmark = pytest.mark.slow


def words(folder, data_dir):
    return [*WORDS.split(), "--no-pictures", "--data_dir", data_dir, "--workdir", str(folder)]


@pytest.fixture(scope="module")
def command(data_dir, programs):
    def run(folder, fault=None):
        return forking.run(words(folder, data_dir), programs, fault)

    return run


@pytest.fixture(scope="module")
def left_alone(command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    assert (ended := command(folder)).code == 0, ended.text
    return folder


def assert_ends_as_if_left_alone(command, folder, left_alone):
    """The same command resumes, and comes to every bit of the state and every byte of the journal."""
    ended = command(folder)
    assert ended.code == 0 and "Traceback" not in ended.text, ended.text
    (_, state), (_, expected) = restore(folder), restore(left_alone)
    chex.assert_trees_all_equal(state, expected)
    chex.assert_trees_all_equal(restore(folder, "best")[1], restore(left_alone, "best")[1])
    assert (folder / "metrics.jsonl").read_bytes() == (left_alone / "metrics.jsonl").read_bytes()
    return ended


# Where it resumes; steps are quicker than a save, which may be under way yet when the next few are done.
KILLS = {
    "while compiling": (functools.partial(injected.while_compiling, KILL), (0,)),
    "at the first step": (functools.partial(injected.at_step, KILL, 1), (0,)),
    "at the end of an epoch": (functools.partial(injected.at_step, KILL, 14), (5, 10)),
    "in an evaluation": (functools.partial(injected.in_evaluation, KILL), (0, 5)),
    "before the commit of a save": (functools.partial(injected.in_a_save, KILL, 10, "10"), (5,)),
    "after the commit of a save": (functools.partial(injected.in_a_save, KILL, 10, "10", True), (10,)),
    "before the state of a save is whole": (functools.partial(injected.in_a_save, KILL, 10, "state"), (5,)),
}


@pytest.mark.fault("F2")
@pytest.mark.parametrize("moment", KILLS)
def test_killed(moment, command, left_alone, tmp_path):
    """It resumes from the last checkpoint that was whole."""
    fault, steps = KILLS[moment]
    assert command(tmp_path, fault).code == -KILL
    ended = assert_ends_as_if_left_alone(command, tmp_path, left_alone)
    assert int((re.findall(r"resumed at step (\d+)\n", ended.text) or [0])[0]) in steps


SIGNALS = {
    "before the first step": (functools.partial(injected.before_the_first_state, TERM), 1),
    "while compiling": (functools.partial(injected.while_compiling, TERM), 1),
    "in an evaluation": (functools.partial(injected.in_evaluation, TERM), 8),
    "in a save": (functools.partial(injected.in_a_save, TERM, 10, "10"), None),  # by then steps may have been taken
}


@pytest.mark.fault("F5")
@pytest.mark.parametrize("moment", SIGNALS)
def test_asked_to_stop(moment, command, left_alone, tmp_path):
    """It takes the step that is due, saves a whole checkpoint and says how to resume."""
    fault, step = SIGNALS[moment]
    ended = command(tmp_path, fault)
    assert ended.code == 75 and "Traceback" not in ended.text, ended.text
    assert "the same command resumes from there" in ended.text
    saved = int(restore(tmp_path)[1].step)
    assert saved == step if step else 10 <= saved < 28
    ended = assert_ends_as_if_left_alone(command, tmp_path, left_alone)
    assert f"resumed at step {saved}\n" in ended.text


@pytest.mark.fault("F8")
def test_two_processes_come_to_the_same_bits(data_dir, left_alone, tmp_path):
    """With dropout and augmentation, in one that compiles for itself and whose sets of words have another order.

    It is not forked: processes that are have the hashes of the one that they come from.
    """
    command = [sys.executable, "-m", "experiments.digits_cnn", *words(tmp_path / "run", data_dir)]
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    done = subprocess.run(command, cwd=forking.ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    chex.assert_trees_all_equal(restore(tmp_path / "run")[1], restore(left_alone)[1])
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (left_alone / "metrics.jsonl").read_bytes()
