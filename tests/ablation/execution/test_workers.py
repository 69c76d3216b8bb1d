"""Processes of one machine that share a study, each with its part of the cores."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time

import pytest

from research.ablation.execution.engines import workers
from research.ablation.execution.modes import measuring
from research.ablation.store.study_folder import Store

KEPT = hasattr(os, "sched_setaffinity")
STUDY = ["-m", "experiments.digits_cnn", "ablate", "--smoke", "--axis", "model.dropout=0,0.1", "--seeds", "2"]
LONG = ["--steps", "100000", "--log_every", "100", "--checkpoint_every", "100000"]


@pytest.fixture
def machine(monkeypatch):
    """A CPU of five cores with 64 GiB."""
    monkeypatch.setattr(os, "sched_setaffinity", lambda process, allowed: None, raising=False)
    monkeypatch.setattr(workers, "is_only_device", lambda: True)
    monkeypatch.setattr(workers, "cores", lambda: 5)
    monkeypatch.setattr(workers, "host_memory", lambda: 2**36)
    return monkeypatch


def test_a_process_for_each_core_of_a_cpu(machine):
    assert (workers.fitting(7), workers.fitting(3), workers.fitting(0)) == (5, 3, 1)
    machine.setattr(workers, "cores", lambda: 64)
    assert workers.fitting(97) == workers.MOST
    machine.setattr(workers, "host_memory", lambda: 7 * 2**30)
    assert workers.fitting(97) == 3
    machine.setattr(workers, "host_memory", lambda: 2**30)
    assert workers.fitting(97) == 1


def test_other_devices_are_left_to_one_process(machine):
    machine.setattr(workers, "is_only_device", lambda: False)
    assert workers.fitting(7) == 1


def test_processes_that_share_cores_are_not_started_where_none_can_be_kept_to_them(machine):
    machine.delattr(os, "sched_setaffinity")
    assert workers.fitting(7) == 1


def test_memory_is_divided_as_the_cores_are(monkeypatch):
    monkeypatch.setattr(measuring, "host_memory", lambda: 2**30)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(measuring, "cores", lambda: 2)
    assert measuring.available() == 2**28


@pytest.fixture
def start(data_dir, tmp_path):
    """Run the study in a process of its own, which does not outlive the test."""
    with contextlib.ExitStack() as stack:

        def start(*words):
            command = [sys.executable, *STUDY, "--workdir", str(tmp_path), "--data_dir", data_dir, *words]
            pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            process = stack.enter_context(subprocess.Popen(command, process_group=0, **pipes))
            stack.callback(process.kill)
            return process

        yield start


def owners(root):
    """The numbers of the processes that had a trial; a file is empty for a moment."""
    contents = [json.loads(file.read_text() or "{}") for file in root.glob("trials/*/attempts/*.json")]
    return {content["pid"] for content in contents if content}


def wait_until(condition):
    """Wait, at most five minutes."""
    end = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def is_alive(pid):
    """Whether a process runs; one that has ended but was not asked how does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.slow
def test_by_default_every_core_has_a_process_and_one_tells_of_all(start, tmp_path):
    stdout, stderr = (process := start()).communicate(timeout=300)
    assert (process.returncode, stderr) == (0, "")
    expected = workers.fitting(6)
    told = [line.split(":")[0] for line in stdout.splitlines() if line.endswith(" left")]
    assert len(told) == len(set(told)) == 6 and "6 trials: 6 done" in stdout
    files = list(tmp_path.glob("trials/*/attempts/*.json"))
    assert len(files) == 6 and 1 <= len(owners(tmp_path)) <= expected
    used = {json.loads(file.read_text())["cores"] for file in tmp_path.glob("trials/*/environment.json")}
    assert used == {workers.cores() // expected}
    stdout, _ = (process := start()).communicate(timeout=300)
    assert process.returncode == 0 and " left\n" not in stdout


@pytest.mark.slow
@pytest.mark.skipif(not KEPT or workers.cores() < 2, reason="one process for one core")
def test_workers_are_stopped_with_the_command_and_end_with_it(programs, start, tmp_path):
    process = start(*LONG)
    wait_until(lambda: len(owners(tmp_path)) == 2)
    (worker,) = owners(tmp_path) - {process.pid}
    wait_until(lambda: len(list(tmp_path.glob("trials/*/metrics.jsonl"))) == 2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does
    _, stderr = process.communicate(timeout=300)
    assert process.returncode == 75 and not is_alive(worker)
    assert stderr.count("finishing this step") == stderr.count("6 trials: 6 planned") == 1, stderr
    assert {outcome.status for outcome in Store(tmp_path).outcomes()} == {"planned"}
    # A process may have trained several at once.
    trained = {file.parent for file in tmp_path.glob("trials/*/metrics.jsonl")}
    assert {file.parents[2] for file in tmp_path.glob("trials/*/checkpoints/latest/*")} == trained, "all were saved"

    process = start(*LONG)
    wait_until(lambda: len(owners(tmp_path) - {worker}) >= 3)
    (worker,) = (pid for pid in owners(tmp_path) if is_alive(pid) and pid != process.pid)
    process.kill()
    process.communicate()
    wait_until(lambda: not is_alive(worker))
