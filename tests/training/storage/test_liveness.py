"""Whether a process still runs is told by its PID and its start time, as PIDs are reused."""

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from research.training.storage.liveness import process_start_time, still_runs

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the kernel says so in /proc")


@LINUX
def test_a_start_time_is_the_kernels():
    """Which earlier versions read from there, so that what they left is judged as what is left now."""
    noted = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    assert process_start_time(os.getpid()) == noted


@LINUX
def test_setting_the_clock_changes_no_start_time(monkeypatch):
    before, boot = process_start_time(os.getpid()), psutil.boot_time()
    monkeypatch.setattr(psutil._psplatform, "boot_time", lambda: boot + 3600)
    assert psutil.Process().create_time() > boot + 3600
    assert process_start_time(os.getpid()) == before


def test_a_pid_that_was_reused_is_another_process():
    mine = process_start_time(os.getpid())
    assert still_runs(os.getpid(), mine)
    assert not still_runs(os.getpid(), str(int(mine) - 1))
    assert not still_runs(os.getpid(), None)


def test_a_process_that_has_ended_does_not_run():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = process_start_time(process.pid)
        assert still_runs(process.pid, started)
        process.stdin.close()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # a zombie: nobody has taken note
        assert not still_runs(process.pid, started)
        process.wait()
        assert process_start_time(process.pid) is None and not still_runs(process.pid, None)


@pytest.mark.parametrize("pid", [-1, 2**40, None, "1", [1], 1.5])
def test_what_is_no_pid_runs_nowhere(pid):
    assert not still_runs(pid, None)


def test_what_was_left_where_nothing_tells_start_times_is_believed():
    """As by earlier versions on a Mac, whose process may run on: its PID alone tells."""
    assert still_runs(os.getpid(), "")
