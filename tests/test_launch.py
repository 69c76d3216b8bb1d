"""The launcher: what comes back after a kill, what is handed on, and what it leaves behind."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from research import launch
from tests.planning.counting import expected

COUNTING = [sys.executable, "-m", "tests.planning.counting"]


@pytest.fixture(autouse=True)
def temporary_logs(tmp_path, monkeypatch):
    """Where they are kept when something goes wrong."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))


def python(code):
    return [sys.executable, "-c", f"import os, pathlib, signal, sys, time\n{code}"]


def start(*flags, command):
    """Start the launcher in the folder of the project."""
    words = [sys.executable, "-m", "research.launch", *map(str, flags), "--", *map(str, command)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process):
    """Return what the launcher and process 0 print until it ends, which has to be within four minutes."""
    late = threading.Timer(240, process.kill)
    late.start()
    try:
        out, err = process.communicate()
    finally:
        late.cancel()
    assert process.returncode != -signal.SIGKILL, f"it did not end: {err}"
    return out, err


def run(*flags, command):
    """Return its exit code and what it and process 0 print."""
    out, err = ended(process := start(*flags, command=command))
    return process.returncode, out, err


def wait_for(condition):
    deadline = time.monotonic() + 240
    while not (value := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return value


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


def saved(folder):
    return int((folder / "saved").read_text().split()[0]) if (folder / "saved").exists() else 0


@pytest.mark.slow
def test_all_start_again_after_a_kill_of_a_worker_and_of_the_coordinator(programs, tmp_path):
    process = start("--processes", 2, command=[*COUNTING, tmp_path])
    steps = []
    for start_number, index in ((1, 1), (2, 0)):
        pids = tmp_path / f"pids-{index}"
        wait_for(lambda pids=pids, count=start_number: len(lines(pids)) == count)
        before = saved(tmp_path)
        steps.append(wait_for(lambda before=before: saved(tmp_path) > before and saved(tmp_path)))
        os.kill(int(lines(pids)[-1]), signal.SIGKILL)
    out, err = ended(process)
    assert process.returncode == 0 and out == f"total {expected(40, 2)}\n"  # nothing of Gloo's
    assert [len(lines(tmp_path / f"pids-{index}")) for index in range(2)] == [3, 3]
    assert 0 < steps[0] < steps[1] < 40
    assert "process 1 was ended by SIGKILL; starting all again (1 of 3)" in err
    assert "process 0 was ended by SIGKILL; starting all again (2 of 3)" in err


@pytest.mark.slow
def test_a_signal_to_one_stops_all_at_the_same_step(tmp_path):
    """The worker alone is asked to stop in tests/devices/test_several_processes.py."""
    flags, last = ("--processes", 2, "--devices_per_process", 3), 0
    for part, to in enumerate(["coordinator", "launcher"]):
        process = start(*flags, command=[*COUNTING, tmp_path, "--steps", 1000])
        wait_for(lambda last=last: saved(tmp_path) > last)
        if to == "launcher":
            process.send_signal(signal.SIGINT)
        else:
            os.kill(int(lines(tmp_path / "pids-0")[part]), signal.SIGTERM)
        _, err = ended(process)
        assert process.returncode == 75 and "starting all again" not in err, err
        stopped = [int((tmp_path / f"stopped-{index}").read_text()) for index in range(2)]
        assert stopped[0] == stopped[1] == saved(tmp_path) > last
        last = stopped[0]
    code, out, _ = run(*flags, command=[*COUNTING, tmp_path, "--steps", last + 3])
    assert code == 0 and out == f"total {expected(last + 3, 6)}\n"


@pytest.mark.parametrize("index", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_an_error_ends_all_soon_and_only_once(index, tmp_path):
    """An orderly exit would wait five minutes for the other process."""
    begin = time.monotonic()
    code, _, err = run("--processes", 2, command=[*COUNTING, tmp_path, "--fails", index, 2])
    assert code == 1 and f"ArithmeticError: process {index} cannot continue" in err
    assert time.monotonic() - begin < 150
    assert [len(lines(tmp_path / f"pids-{number}")) for number in range(2)] == [1, 1]


def test_bad_usage_is_handed_on(tmp_path):
    count = f"pathlib.Path(r'{tmp_path}', 'starts').open('a').write('start\\n')"
    complain = "print('what is wrong', file=sys.stderr); sys.exit(2)"
    assert run("--processes", 3, command=python(f"{count}; {complain}")) == (2, "", "what is wrong\n")
    assert len(lines(tmp_path / "starts")) == 3


def test_restarts_run_out(tmp_path):
    wait = "os.environ['JAX_PROCESS_ID'] == '1' or time.sleep(60)"
    code = f"print('last', 'words', flush=True); {wait}; os.kill(os.getpid(), signal.SIGKILL)"
    exit_code, _, err = run("--processes", 2, "--restarts", 2, "--logs", tmp_path, command=python(code))
    assert exit_code == 1 and err.count("starting all again") == 2
    assert "process 1 was ended by SIGKILL, after 2 restarts" in err and err.endswith("last words\n")
    assert (tmp_path / "process-1.log").read_text() == 3 * "last words\n" and str(tmp_path) in err


def test_one_that_is_killed_after_another_was_interrupted_starts_nothing_again(tmp_path):
    interrupted = "os.environ['JAX_PROCESS_ID'] == '1' and sys.exit(75)"
    code = f"{interrupted}; time.sleep(1); os.kill(os.getpid(), signal.SIGKILL)"
    assert run("--processes", 2, command=python(code)) == (75, "", "")


def test_logs_that_nobody_was_told_of_are_deleted(tmp_path):
    assert run("--processes", 2, command=python("print('done')")) == (0, "done\n", "")
    assert list(tmp_path.iterdir()) == []
    _, _, err = run("--processes", 2, command=python("sys.exit(7)"))
    (folder,) = tmp_path.iterdir()
    assert f"exit code 7; what the others wrote is in {folder}" in err


def alive(pid):
    """Whether a process is there; one that nobody waits for is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


SLEEPING = "pathlib.Path(sys.argv[1], os.environ['JAX_PROCESS_ID']).write_text(str(os.getpid())); time.sleep(60)"


def sleeping(folder):
    """Return a launcher and its processes, which do not hear SIGTERM."""
    command = [*python(f"signal.signal(signal.SIGTERM, signal.SIG_IGN)\n{SLEEPING}"), folder]
    process = start("--processes", 2, command=command)
    return process, [int(wait_for(lambda path=folder / name: "".join(lines(path)))) for name in "01"]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="prctl is Linux's")
def test_processes_do_not_outlive_a_launcher_that_is_killed(tmp_path):
    process, pids = sleeping(tmp_path)
    process.kill()
    process.communicate()
    wait_for(lambda: not any(map(alive, pids)))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_a_second_signal_ends_all_at_once(tmp_path):
    process, pids = sleeping(tmp_path)
    process.send_signal(signal.SIGTERM)
    assert "once more" in process.stderr.readline() + process.stderr.readline()
    time.sleep(0.2)
    assert process.poll() is None and all(map(alive, pids))
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 130 and not any(map(alive, pids))


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ([], "put -- before the command"),
        (["--processes", "2", "python"], "put -- before the command"),
        (["--processes", "0", "--", "python"], "--processes must be at least 1, not 0"),
        (["--processes", "2", "--restarts", "-1", "--", "python"], "--restarts must be at least 0"),
        (
            ["--processes", "2", "--devices_per_process", "0", "--", "python"],
            "--devices_per_process must be at least 1",
        ),
        (["--proceses", "2", "--", "python"], "did you mean --processes?"),
        (["--processes", "2", "--"], "there is no command"),
        (["--processes", "2", "--", "pyhton-3"], 'there is no program "pyhton-3"'),
        (["--processes", "2", "--logs", "/dev/null/logs", "--", sys.executable], "cannot write to /dev/null/logs"),
    ],
)
def test_bad_usage(words, named, capsys):
    assert launch.main(words) == 2
    out, err = capsys.readouterr()
    assert named in err and err.startswith("error: ") and err.count("\n") == 1 and out == ""


def test_help(capsys):
    with pytest.raises(SystemExit) as exit:
        launch.main(["--help"])
    out, err = capsys.readouterr()
    assert exit.value.code == 0 and "Exit codes" in out and err == ""


def test_the_environment_of_a_process():
    before = {
        "A": "b",
        "XLA_FLAGS": "--xla_a=1 --xla_force_host_platform_device_count=8",
        "https_proxy": "http://proxy",
    }
    after = launch.environment(before, launch.Launch(3, devices_per_process=5), 1234)
    assert after["JAX_COORDINATOR_ADDRESS"] == after["JAX_COORDINATOR_BIND_ADDRESS"] == "127.0.0.1:1234"
    assert (after["JAX_NUM_PROCESSES"], after["JAX_NUM_CPU_DEVICES"], after["XLA_FLAGS"]) == ("3", "5", "--xla_a=1")
    assert (after["A"], after["JAX_PLATFORMS"], after["no_grpc_proxy"]) == ("b", "cpu", "127.0.0.1")
    assert launch.environment({"JAX_PLATFORMS": "cuda"}, launch.Launch(1), 1)["JAX_PLATFORMS"] == "cuda"
    assert "no_grpc_proxy" not in launch.environment({}, launch.Launch(1), 1)


def test_the_launcher_itself_is_light():
    code = "import sys, research.launch; sys.exit(bool({'jax', 'numpy'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
