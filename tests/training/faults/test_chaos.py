"""Faults on purpose: which strike and when, and that a run under all of them ends as an undisturbed one does."""

import dataclasses
import functools
import json
import math
import os
import resource
import signal
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest

from research.errors import UsageError
from research.experiment import RunOptions, replace
from research.training import train
from research.training.display.progress import Lines
from research.training.faults import chaos
from research.training.faults.chaos import Faults, Schedule, parse, supervise
from research.training.storage.folder import Folder
from research.training.storage.lineage import Lineage, append, starts
from research.training.update.state import TrainState
from tests.training import forking
from tests.training.test_resume import assert_same_run

pytestmark = pytest.mark.fault("F3")
ALL = "kill:0.06,term:0.06,nan:0.06,enospc:0.06,bitflip:0.1"


def test_a_kind_strikes_with_its_probability_and_independently_of_others():
    schedule = parse("kill:0.3,nan:0.05,term:0,bitflip:1", seed=5)
    steps = range(4000)
    struck = {kind: np.array([schedule.strikes(kind, step) for step in steps]) for kind in chaos.KINDS}
    for kind, rate in (("kill", 0.3), ("nan", 0.05), ("term", 0), ("bitflip", 1), ("enospc", 0)):
        assert abs(struck[kind].mean() - rate) <= 4 * math.sqrt(rate * (1 - rate) / len(steps))
    assert abs((struck["kill"] & struck["nan"]).mean() - 0.015) < 0.008
    other = parse("kill:0.3", seed=6)
    assert abs(np.mean([other.strikes("kill", step) for step in steps] & struck["kill"]) - 0.09) < 0.02
    assert [parse("kill:0.3", 5).strikes("kill", step) for step in steps] == struck["kill"].tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kil:0.1", 'chaos knows no fault "kil"; did you mean "kill"?'),
        ("", "chaos knows no fault"),
        ("kill:0.1,", 'chaos knows no fault ""'),
        ("kill", 'such as kill:0.1, not "kill"'),
        ("kill:often", 'such as kill:0.1, not "kill:often"'),
        ("kill:-0.1", "a probability from 0 to 1 of kill, not -0.1"),
        ("nan:1.5", "a probability from 0 to 1 of nan, not 1.5"),
        ("nan:nan", "a probability from 0 to 1 of nan, not nan"),
        ("nan:0.1,nan:0.2", "chaos names nan twice"),
    ],
)
def test_a_bad_schedule_is_named(text, message):
    with pytest.raises(UsageError) as refused:
        parse(text, 0)
    assert message in str(refused.value)


def test_a_function_that_nobody_would_call_again_is_not_killed(tiny, options, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="use the command"):
        train(tiny, tmp_path / "run", dataclasses.replace(options, chaos="kill:1"))
    monkeypatch.setenv(chaos.SUPERVISOR, str(os.getpid()))  # as inherited from a grandparent
    with pytest.raises(UsageError, match="use the command"):
        train(tiny, tmp_path / "run", dataclasses.replace(options, chaos="kill:1"))
    assert not (tmp_path / "run").exists()


def test_what_would_change_the_numbers_is_refused(tiny):
    skipping = replace(tiny, {"safety.nonfinite": "skip"})
    with pytest.raises(UsageError, match="set safety.nonfinite to stop or rewind"):
        chaos.check(skipping, RunOptions(chaos="nan:0.1"))
    with pytest.raises(UsageError, match="set stop_diverged"):
        chaos.check(tiny, RunOptions(chaos="nan:0.1", stop_diverged=False))
    assert chaos.check(skipping, RunOptions(chaos="kill:0.1")) == Schedule((("kill", 0.1),))


def state(step=0):
    return TrainState(np.int32(step), {"a": jax.numpy.ones((3, 5)), "b": jax.numpy.ones(7)}, {}, ())


def test_a_leaf_becomes_nan_once(tmp_path):
    folder = Folder(tmp_path)
    for _ in range(2):  # the second is another process
        damaged = Faults(parse("nan:1", 0), folder).before(3, 2, state()).params
        leaves = [np.isnan(leaf) for leaf in jax.tree.leaves(damaged)]
        assert all(leaf.all() or not leaf.any() for leaf in leaves)
        assert any(leaf.all() for leaf in leaves) == (chaos.strikes(folder) and _ == 0)
    assert chaos.strikes(folder) == [("nan", 3), ("nan", 4)]
    assert chaos.summary(chaos.strikes(folder)) == "2 faults struck, before steps counted from 0: nan at 3, 4"


def test_a_full_disk_is_one_save_long(tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    faults = Faults(parse("enospc:1", 0), Folder(tmp_path))
    faults.before(5, 1, state())
    assert chaos.strikes(Folder(tmp_path)) == [], "it has not struck yet"
    written = []
    with pytest.raises(OSError, match="too large"), faults.saving(lambda: written.append("waited")):
        assert chaos.strikes(Folder(tmp_path)) == [("enospc", 5)]
        (tmp_path / "file").write_bytes(bytes(2 * chaos.FULL_FROM))
    assert (tmp_path / "file").stat().st_size < chaos.FULL_FROM
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == before
    with faults.saving(lambda: written.append("not asked")):
        (tmp_path / "file").write_bytes(bytes(2 * chaos.FULL_FROM))
    assert written == []


def test_a_bit_flips_only_where_an_older_checkpoint_is_kept(tmp_path, monkeypatch):
    killed = []
    monkeypatch.setattr(os, "kill", lambda *arguments: killed.append(arguments))
    folder = Folder(tmp_path)
    faults = Faults(parse("bitflip:1", 0), folder)
    for step in (9, 10):
        path = folder.checkpoints / "latest" / str(step) / "state" / "data"
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(100))
        faults.before(step, 1, state())
    assert chaos.strikes(folder) == [("bitflip", 10)] and killed == [(os.getpid(), signal.SIGKILL)]
    bits = [np.unpackbits(np.fromfile(path, np.uint8)).sum() for path in sorted(folder.checkpoints.rglob("data"))]
    assert sorted(bits) == [0, 1] and path.read_bytes() != bytes(100), "the newest one"


def strike(folder, kind, step):
    append(folder.chaos, json.dumps({"kind": kind, "step": step}))


@pytest.mark.parametrize(
    ("lives", "ended"),
    [
        ([("kill", -9), ("nan", 1), ("term", 75), (None, 0)], (0, "")),
        ([("kill", -9), (None, 1)], (1, "")),
        ([("kill", 2)], (2, "")),
        ([(None, 75)], (75, "")),
        ([("nan", 75)], (75, "")),  # it was asked to stop by something else
        ([("kill", 0)], (0, "")),
        ([(None, -9)], (1, "it was ended by SIGKILL, and no fault of --chaos has struck")),
    ],
)
def test_a_run_is_started_again_after_a_fault_and_after_nothing_else(lives, ended, tmp_path):
    folder, left = Folder(tmp_path), list(lives)

    def start():
        kind, code = left.pop(0)
        if kind:
            strike(folder, kind, len(left))
        return code

    assert supervise(start, folder, []) == ended and not left


def test_a_signal_to_the_supervisor_ends_it(tmp_path):
    folder = Folder(tmp_path)

    def supervised_while(signals, code, kind=None):
        received = []

        def start():
            received.extend([signal.SIGINT] * signals)
            if kind:
                strike(folder, kind, 3)
            return code

        return supervise(start, folder, received)[0]

    assert supervised_while(1, 75) == supervised_while(1, -15) == supervised_while(1, -9, "kill") == 75
    assert supervised_while(2, -9) == 130
    assert supervised_while(1, 0) == 0 and supervised_while(1, 1) == 1


SHORT = "--smoke --steps 40 --log_every 3 --checkpoint_every 4 --evaluate_every 10 --progress lines --no_pictures"
LONG = "--smoke --steps 200 --log_every 5 --checkpoint_every 10 --evaluate_every 35 --progress lines --no_pictures"
KILLS = 20


def undisturbed(words, folder, programs, data_dir):
    """Return the folder of a run that nothing disturbs."""
    ended = forking.run([*words, "--workdir", str(folder), "--data_dir", data_dir], programs)
    assert ended.code == 0, ended.text
    return folder


def supervised():
    """Have this process say that the one that forked it will start it again."""
    os.environ[chaos.SUPERVISOR] = str(os.getppid())


@pytest.mark.slow
@pytest.mark.fault("F2", "F4", "F11", "F13", "F21")
@pytest.mark.parametrize(("nonfinite", "seed"), [("stop", 5), ("rewind", 11)])
def test_a_run_under_all_faults_ends_as_an_undisturbed_one(nonfinite, seed, programs, data_dir, tmp_path):
    words, folder = [*SHORT.split(), "--safety.nonfinite", nonfinite], Folder(tmp_path / "run")
    struck = [*words, "--workdir", str(folder.root), "--data_dir", data_dir, "--chaos", ALL, "--chaos_seed", str(seed)]
    printed = []

    def start():
        ended = forking.run(struck, programs, supervised)
        printed.append(ended.text)
        return ended.code

    assert supervise(start, folder, []) == (0, ""), printed[-1]
    assert_same_run(folder.root, undisturbed(words, tmp_path / "alone", programs, data_dir))
    strikes, events = chaos.strikes(folder), Lineage(folder.lineage).events()
    assert {kind for kind, _ in strikes} == set(chaos.KINDS)
    assert len(set(strikes)) == len(strikes) and len(printed) > 5
    assert f"({starts(events)} starts)" in printed[-1] and "goodput" in printed[-1]
    found = {event["event"] for event in events}
    assert {"began", "resumed", "lost", "finished"} <= found  # what else is there depends on what a kill left time for
    assert ("rewound" in found) == (nonfinite == "rewind")


@pytest.fixture(scope="module")
def alone(programs, data_dir):
    """The folder of a run that nothing disturbed."""
    return undisturbed(LONG.split(), programs.parent / "alone", programs, data_dir)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(int(os.environ.get("KILL_LOOPS", "1"))))
def test_twenty_kills_in_one_run(seed, alone, programs, data_dir, tmp_path):
    """A fraction of a second after a random step each, in steps, saves and evaluations; some while it begins.

    Half a minute is 22 starts of a process: it is the number of kills that finds what one kill does not.
    """
    generator, words = np.random.default_rng(seed), LONG.split()
    run = [*words, "--workdir", str(tmp_path / "run"), "--data_dir", data_dir]
    for step in np.sort(generator.integers(1, 180, KILLS)):
        after = None if generator.uniform() < 0.2 else int(step)
        ended = forking.run(run, programs, functools.partial(killed, after, generator.uniform(0, 0.1 if after else 1)))
        assert ended.code == -signal.SIGKILL, ended.text
    assert_same_run(undisturbed(words, tmp_path / "run", programs, data_dir), alone)
    assert sum(event["event"] == "lost" for event in Lineage(tmp_path / "run" / "lineage.jsonl").events()) > KILLS / 2


def killed(step, delay):
    """Have this process killed some seconds after it has come to a step, or begun; at its end at the latest."""
    timer = threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL))
    if step is None:
        timer.start()  # the process does not end before it has come
        return
    advance = Lines.advance

    def reached(self, at):
        advance(self, at)
        if at >= step and not timer.is_alive():
            timer.start()

    Lines.advance = reached


@pytest.mark.slow
def test_the_command(programs, data_dir, tmp_path):
    """It starts itself again, says what struck, hands Ctrl-C on, and resumes from there."""
    words = [sys.executable, "-m", "experiments.digits_cnn", *LONG.split(), "--workdir", str(tmp_path / "run")]
    words += ["--data_dir", data_dir, "--chaos", "term:0.03", "--steps", "3000"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 240
        while starts(Lineage(Folder(tmp_path / "run").lineage).events()) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    assert process.returncode == 75, err
    assert "the run saves and ends; once more ends it at once" in err
    assert "struck, before steps counted from 0: term at" in out
    assert "Traceback" not in err
    events = Lineage(Folder(tmp_path / "run").lineage).events()
    assert {event["event"] for event in events} <= {"began", "resumed", "interrupted", "lost"}
