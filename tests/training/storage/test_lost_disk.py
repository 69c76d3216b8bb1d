"""A disk that is full, read-only or gone: said at once in a sentence, and what was saved before stays as it was."""

import functools
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
import types

import chex
import pytest

from research.errors import RunError
from research.training import restore
from research.training.storage.checkpoints.checkpoint import Checkpoints
from research.training.storage.checkpoints.orbax import silence_orbax
from tests.training import forking
from tests.training.faults import injected
from tests.training.storage.test_integrity import ABSTRACT, STATES

# Of this size the numbers take more than 30 kB, and no other file does.
# Bytes of a file: below the largest array, as how many arrays Orbax puts into a file depends on time.
LIMIT = 10_000
WORDS = (
    "--smoke --model.channels 16 32 --steps 12 --log_every 2 --checkpoint_every 4 --evaluate_every 0 "
    "--progress lines --no-pictures"
)


@pytest.fixture(scope="module")
def command(data_dir, programs):
    def run(folder, fault=None, *more):
        words = [*WORDS.split(), "--data_dir", data_dir, "--workdir", str(folder), *more]
        return forking.run(words, programs, fault)

    return run


@pytest.fixture(scope="module")
def left_alone(command, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    assert (ended := command(folder)).code == 0, ended.text
    return folder


def assert_says(ended, pattern):
    """It ended with 1 and one sentence, no traceback."""
    assert ended.code == 1 and "Traceback" not in ended.text, ended.text
    (sentence,) = [line for line in ended.text.splitlines() if line.startswith("error: ")]
    assert re.search(pattern, sentence), sentence


def assert_ends_as_if_left_alone(command, folder, left_alone):
    ended = command(folder)
    assert ended.code == 0 and "Traceback" not in ended.text, ended.text
    chex.assert_trees_all_equal(restore(folder)[1], restore(left_alone)[1])
    assert (folder / "metrics.jsonl").read_bytes() == (left_alone / "metrics.jsonl").read_bytes()


@pytest.mark.slow
@pytest.mark.fault("F13")
def test_a_disk_that_fills_up_ends_the_run(command, left_alone, tmp_path):
    """At the save or the step after it; what was saved before stays, and the same command ends exactly."""
    ended = command(tmp_path, functools.partial(injected.files_no_larger_than, LIMIT, 8))
    assert_says(ended, "saving step 8 to .*/latest failed: .*File too large$")
    assert int(restore(tmp_path)[1].step) == 4
    assert_ends_as_if_left_alone(command, tmp_path, left_alone)


@pytest.mark.slow
@pytest.mark.fault("F13")
def test_a_run_may_go_on_without_saving_but_not_end_well(command, left_alone, tmp_path):
    ended = command(tmp_path, functools.partial(injected.files_no_larger_than, LIMIT, 8), "--save_errors", "warn")
    assert_says(ended, "saving step 12 to .* failed")
    assert "saving step 8 to " in ended.text and "; continuing" in ended.text and "step 12/12" in ended.text
    assert int(restore(tmp_path)[1].step) == 4 and not (tmp_path / "result.json").exists()
    assert_ends_as_if_left_alone(command, tmp_path, left_alone)


@pytest.mark.slow
@pytest.mark.fault("F13")
@pytest.mark.parametrize("name", ["metrics.jsonl", "result.json"])
def test_a_disk_that_is_full_for_a_small_file(name, command, left_alone, tmp_path):
    assert_says(
        command(tmp_path, functools.partial(injected.full_disk_for, name)), f"cannot write .*{name}: No space left"
    )
    assert_ends_as_if_left_alone(command, tmp_path, left_alone)


@pytest.mark.slow
@pytest.mark.fault("F14")
def test_a_folder_that_is_deleted(command, left_alone, tmp_path):
    """The run ends at the next line it writes, rather than continuing in a folder that lacks what came before."""
    folder = tmp_path / "run"
    ended = command(folder, functools.partial(injected.moved_at, str(folder), 6))
    assert_says(ended, f"(cannot write|saving step .* to) {folder}")
    shutil.rmtree(folder, ignore_errors=True)
    assert_ends_as_if_left_alone(command, folder, left_alone)


@pytest.fixture
def disk(tmp_path):
    """A file system of 1 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True
    )
    if not mounted or mounted.returncode:
        pytest.skip("mounting a file system takes root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder):
    """Write until a disk is full; return the file to delete."""
    waste = folder / "waste"
    with waste.open("wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(bytes(4096))
    return waste


def settled(checkpoints):
    """Ask as the loop does before every step, until the save is done."""
    while checkpoints._saving:
        checkpoints.look()


@pytest.mark.fault("F13")
@pytest.mark.parametrize("errors", ["stop", "warn"])
def test_a_disk_that_is_really_full(errors, disk, caplog):
    caplog.set_level(logging.WARNING)
    with Checkpoints(disk / "checkpoints", errors=errors) as checkpoints:
        checkpoints.save("latest", STATES[1])
        checkpoints.wait()
        waste = fill(disk)

        def save_to_the_end():
            checkpoints.save("latest", STATES[2])
            settled(checkpoints)

        if errors == "stop":
            with pytest.raises(RunError, match="saving step 2 to .*latest failed: .*No space left on device"):
                save_to_the_end()
        else:
            save_to_the_end()
            assert "saving step 2" in caplog.text and "No space left on device; continuing" in caplog.text
            with pytest.raises(RunError, match="saving step 2"):  # the last one is never lost in silence
                checkpoints.wait()
        with Checkpoints(disk / "checkpoints", read_only=True) as read:
            assert int(read.restore("latest", ABSTRACT).state.step) == 1  # not the step that was never written
        waste.unlink()
        checkpoints.save("latest", STATES[2])
        checkpoints.wait()
        chex.assert_trees_all_equal(checkpoints.restore("latest", ABSTRACT).state, STATES[2])


@pytest.mark.fault("F13")
def test_what_orbax_cannot_raise_is_left_out_and_nothing_else(monkeypatch):
    reported = []
    monkeypatch.setattr(sys, "unraisablehook", reported.append)
    silence_orbax.__wrapped__()
    for text in ("Event loop is closed", "something else"):
        sys.unraisablehook(types.SimpleNamespace(exc_value=RuntimeError(text)))
    assert [str(found.exc_value) for found in reported] == ["something else"]


@pytest.mark.fault("F14")
def test_a_file_in_the_place_of_the_checkpoints(tmp_path):
    """Known as soon as the folder is opened, which is before the first step."""
    (tmp_path / "latest").write_text("")
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(RunError, match=f"to {tmp_path} failed: "):
        checkpoints.restore("latest", ABSTRACT)


@pytest.mark.fault("F14")
def test_permission_that_is_lost(tmp_path, monkeypatch):
    """A folder that was writable when the run began."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save("latest", STATES[1])
        checkpoints.wait()
        threads = threading.active_count()
        monkeypatch.setattr(os, "mkdir", refused)
        with pytest.raises(RunError, match="saving step 2 to .*/latest failed: Permission denied"):
            checkpoints.save("latest", STATES[2])
            settled(checkpoints)
        monkeypatch.undo()
        assert threading.active_count() <= threads  # none waits, as the process would at its end
        assert int(checkpoints.restore("latest", ABSTRACT).state.step) == 1


def refused(path, *arguments, **keywords):
    """What a folder that may not be written says."""
    raise PermissionError(13, "Permission denied", str(path))
