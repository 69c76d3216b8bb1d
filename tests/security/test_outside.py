"""What commands do to the machine: modes of the files they make, the network, and streams that are gone."""

import os
import pty
import select
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.training import forking

ROOT = Path(__file__).parents[2]

COMMANDS = """
import os, socket, stat, sys

if sys.argv[1] != "online":
    import socket

    def refuse(self, address, connect=socket.socket.connect):
        if self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost"):
            return connect(self, address)
        os.write(2, f"asked for {address}".encode())
        os._exit(99)

    def resolve(host, *rest, find=socket.getaddrinfo, **options):
        if host not in (None, "", "127.0.0.1", "::1", "localhost", socket.gethostname()):
            os.write(2, f"asked for {host}".encode())
            os._exit(99)
        return find(host, *rest, **options)

    socket.socket.connect = socket.socket.connect_ex = refuse
    socket.getaddrinfo = resolve

os.umask(int(sys.argv[2], 8))
import jax
from experiments.digits_cnn import experiment, smoke, studies
from research import cli, weights

def run(*words):
    try:
        words = [*words, "--data_dir", "data"] if words[0] != "report" else words
        cli.main(experiment, smoke=smoke, studies=studies, file="digits_cnn.py", doc="", arguments=list(words))
    except SystemExit as exit:
        assert not exit.code, (words, exit.code)

run("train", "--smoke", "--steps", "2", "--workdir", "run", "--progress", "none")
run("evaluate", "--workdir", "run")
run("predict", "--workdir", "run", "--output", "predictions.csv")
axis = ("--axis", "optimizer.learning_rate=0.01", "--seeds", "2", "--workdir", "study", "--progress", "none")
run("ablate", "--smoke", "--steps", "2", *axis)
run("report", "--workdir", "study", "--output", "report")
"""


UMASK = 0o027
"""What comes of it, 0640 and 0750, is what no library sets by itself: not for the user alone, nor for everybody."""


@pytest.mark.slow
@pytest.mark.fault("F28", "F29")
def test_files_have_the_modes_that_the_user_wants_and_the_network_is_not_asked(tmp_path):
    """Every file of data, a run, predictions, a study and a report; compiled programs are for the user alone.

    In a new folder, with a home of its own.
    """
    folder = tmp_path / "commands"
    folder.mkdir()
    caching = {"JAX_ENABLE_COMPILATION_CACHE": "true", "HOME": str(folder), "PYTHONPATH": str(ROOT)}
    elsewhere = ("XDG_CACHE_HOME", "JAX_COMPILATION_CACHE_DIR")
    environment = {name: value for name, value in os.environ.items() if name not in elsewhere} | caching
    words = [sys.executable, "-c", COMMANDS, "offline", f"{UMASK:o}"]
    ended = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    cache = folder / ".cache/ceteris/compilations"
    names = {path.name for path in folder.rglob("*")}
    assert {"result.json", "metrics.jsonl", "predictions.csv", "report.html", "report.png", "study.json"} <= names
    assert any(cache.iterdir()) and stat.S_IMODE(cache.stat().st_mode) == 0o700
    for path in [path for path in folder.rglob("*") if path != cache]:
        wanted = (0o777 if path.is_dir() else 0o666) & ~UMASK
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path


TRAIN = ["--smoke", "--log_every", "1", "--no_pictures", "--steps", "12"]


def shown(output, words, errors):
    """Be a run that shows what it does to a file, whatever that is."""
    os.dup2(os.open(output, os.O_WRONLY | os.O_NOCTTY), 1)
    sys.stdout = os.fdopen(1, "w", closefd=False)
    forking.typed("experiments.digits_cnn", words, str(ROOT), {}, errors)


@pytest.fixture
def start(data_dir, tmp_path):
    """Begins to train in a folder of that name, and to show that to a file; returns what waits for its good end."""

    def run(name, output, *words):
        folder, errors = tmp_path / name, tmp_path / f"{name} errors"
        words = [*TRAIN, "--workdir", str(folder), "--data_dir", data_dir, *words]
        call = forking.call(shown, str(output), words, str(errors))

        def ended():
            """Return what it said on standard error."""
            ended = forking.finish(*call)
            said = errors.read_text()
            assert ended.code == 0, (ended.text, said)
            assert len((folder / "metrics.jsonl").read_text().splitlines()) == 14 and (folder / "result.json").exists()
            return said

        return ended

    return run


def wait_for(reading):
    """Wait until something is there to be read."""
    assert select.select([reading], [], [], 240)[0]


def assert_said_once(said):
    assert said.count("standard output failed") == 1 and "Traceback" not in said


@pytest.mark.slow
@pytest.mark.fault("F31")
@pytest.mark.parametrize("how", ["lines", "bar"])
def test_training_goes_on_when_its_terminal_is_gone(how, start):
    """A terminal that hangs up: writing to it fails from then on."""
    ours, theirs = pty.openpty()
    ended = start("run", os.ttyname(theirs), "--progress", how)
    wait_for(ours)
    os.close(theirs)
    os.close(ours)
    assert_said_once(ended())


@pytest.mark.slow
@pytest.mark.fault("F31")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no device that is always full")
def test_training_goes_on_when_nobody_reads_or_the_disk_of_its_log_is_full(start, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reading = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    full, piped = start("full", "/dev/full"), start("piped", tmp_path / "pipe")
    wait_for(reading)
    os.close(reading)
    assert_said_once(full())
    assert_said_once(piped())


@pytest.mark.slow
@pytest.mark.fault("F31")
def test_training_goes_on_without_any_stream(data_dir, tmp_path):
    """All closed, as a daemon may be started: no file of the run gets the number of standard error."""
    words = [sys.executable, "-m", "experiments.digits_cnn", *TRAIN]
    words += ["--workdir", str(tmp_path / "run"), "--data_dir", data_dir]
    script = 'exec "$@" 0<&- 1>&- 2>&-'
    assert subprocess.run(["sh", "-c", script, "sh", *words], cwd=ROOT).returncode == 0
    assert len((tmp_path / "run/metrics.jsonl").read_text().splitlines()) == 14
