"""Whose folder it is while a run is in it, and after the process that ran there has died."""

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from research.errors import RunError
from research.training.storage import liveness, lock
from research.training.storage.folder import Folder
from research.training.storage.lineage import read

CLAIMING = (
    "import sys, time\nfrom research.training.storage.folder import Folder\n"
    "with Folder(sys.argv[1]).claimed():\n    print('claimed', flush=True)\n    time.sleep(60)\n"
)


NOBODY = '{"pid": 3, "host": 3, "kernel": "", "born": null, "since": "today"}'


def owner(**changed):
    mine = {"pid": 7, "host": "elsewhere", "kernel": "another", "born": "1", "since": time.time() - 5000}
    return {**mine, **changed}


def leave(folder, content, silent=0.0):
    """Leave a lock as a process whose last heartbeat was some seconds ago."""
    file = folder / ".lock"
    file.write_text(json.dumps(content))
    os.utime(file, (time.time() - silent,) * 2)


def take(folder):
    """Claim a folder; return what its lineage says then."""
    with Folder(folder).claimed():
        return read(Folder(folder).lineage)


@pytest.mark.fault("F6")
def test_the_second_of_two_processes_is_refused_until_the_first_is_killed(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    command = [sys.executable, "-c", CLAIMING, str(tmp_path)]
    before = time.time()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout.readline() == "claimed\n"
        with pytest.raises(RunError) as refused:
            take(tmp_path)
        since = time.strftime("%Y-%m-%d %H:", time.localtime())
        assert f"another process (pid {process.pid} on {os.uname().nodename}, since {since}" in str(refused.value)
        assert str(refused.value).endswith(f" is running in {tmp_path}; wait for it or stop it")
        process.send_signal(signal.SIGKILL)
        process.wait()
    (lost,) = take(tmp_path)
    assert (lost["event"], lost["pid"], lost["host"]) == ("lost", process.pid, liveness.host())
    assert before <= lost["since"] <= lost["until"] <= time.time()
    assert len(take(tmp_path)) == 1, "who left in order has left nothing to take over"


@pytest.mark.fault("F6")
def test_an_owner_on_another_host_is_believed_as_long_as_it_has_heartbeats(tmp_path):
    leave(tmp_path, owner(), silent=lock.STALE - 60)
    with pytest.raises(RunError, match=r"pid 7 on elsewhere, .* last heartbeat 54\d s ago; .* after 600 s without one"):
        take(tmp_path)
    assert json.loads((tmp_path / ".lock").read_text())["pid"] == 7
    leave(tmp_path, owner(), silent=lock.STALE + 1)
    (lost,) = take(tmp_path)
    assert (lost["pid"], lost["host"]) == (7, "elsewhere")


def test_a_dead_container_of_this_host_is_not_waited_for(tmp_path):
    leave(tmp_path, owner(kernel=liveness.kernel()))
    assert len(take(tmp_path)) == 1


def test_without_locks_of_the_kernel_the_owner_is_asked_for(tmp_path, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    born = liveness.process_start_time(os.getpid())
    here = owner(pid=os.getpid(), host=liveness.host(), kernel=liveness.kernel(), born=born)
    leave(tmp_path, here, silent=10 * lock.STALE)
    with pytest.raises(RunError, match=f"pid {os.getpid()} on"):
        take(tmp_path)
    leave(tmp_path, {**here, "born": "of an older process of that number"})
    assert len(take(tmp_path)) == 1


@pytest.mark.parametrize("garbage", ["", "{", "[1]", '{"pid": 3}', "\x00", NOBODY])
def test_a_lock_that_names_nobody_is_free(garbage, tmp_path):
    (tmp_path / ".lock").write_text(garbage)
    assert take(tmp_path) == []
    assert (tmp_path / ".lock").read_text() == ""


def test_heartbeat(tmp_path):
    file = tmp_path / "lock"
    with lock.held(file, heartbeat=0.01):
        os.utime(file, (0, 0))
        deadline = time.monotonic() + 30
        while file.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert file.stat().st_mtime > 0


@pytest.mark.fault("F6")
def test_a_process_that_slept_while_another_took_over_does_not_go_on(tmp_path):
    folder = Folder(tmp_path)
    with folder.claimed():
        folder.heartbeat()
        leave(tmp_path, owner())
        with pytest.raises(RunError, match=r"another process \(pid 7 on elsewhere, .* took over"):
            folder.heartbeat()
    assert json.loads((tmp_path / ".lock").read_text())["pid"] == 7, "its lock is not for this process to clear"
