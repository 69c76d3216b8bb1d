import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import pytest

from research.experiment import replace
from research.layers.partition import LEAST_ELEMENTS
from research.training.update.shapes import abstract_state
from tests.devices import eight_devices
from tests.devices.eight_devices import ONE, assert_same, lines, small, trained
from tests.training import forking

ROOT = Path(__file__).parents[2]
FLAGS = ("--smoke", "--batch_size", "16", "--log_every", "1", "--evaluate_every", "0", "--no_pictures")

pytestmark = pytest.mark.slow


def command(name, folder, data_dir, *flags):
    experiment = (sys.executable, "-m", f"experiments.{name}", *FLAGS, "--workdir", str(folder), "--data_dir", data_dir)
    return [*experiment, *map(str, flags)]


def launched(processes, devices, *words):
    """Start processes under the launcher."""
    launcher = [sys.executable, "-m", "research.launch", "--processes", str(processes)]
    return subprocess.Popen(
        [*launcher, "--devices-per-process", str(devices), "--", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def finished(process, code=0):
    """Wait for a process and return what it printed."""
    out, err = process.communicate(timeout=600)
    assert process.returncode == code, err
    assert "Traceback" not in err, err
    return out


def children(process):
    """Return the process ids of those that train, the one that leads first."""
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return sorted(int(pid) for pid in text.split())


def wait_until(process, folder, step):
    """Wait until a run has reported a step."""
    while not (folder / "metrics.jsonl").exists() or not any(line["step"] >= step for line in lines(folder)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def test_two_processes_of_four_devices_are_one_device(data_dir, tmp_path):
    """Two processes that import, compile for a mesh of eight and train; and one alone: twenty seconds.

    Those whose run is taken up below train a Transformer, whose state they divide.
    """
    out = finished(launched(2, 4, *command("mnist5k_resnet", tmp_path / "two", data_dir, "--steps", 5)))
    assert "cpu x 8 as data 8" in out and out.count("test at step 5") == 1
    alone = trained(small("mnist5k_resnet"), tmp_path / "one", data_dir, ONE)
    assert_same(tmp_path / "two", alone)


def test_processes_whose_devices_take_turns_feed_their_own_rows():
    process = launched(2, 2, sys.executable, "-m", "tests.devices.interleaved")
    assert finished(process).splitlines()[-1] == "holds"


def test_nothing_is_connected_behind_a_call_that_has_returned():
    """A process that ended meanwhile would wait for minutes for devices of another that has gone."""
    process = launched(2, 3, sys.executable, "-m", "tests.devices.connected")
    assert finished(process).splitlines()[-1] == "connected"


@pytest.mark.fault("F9")
def test_two_processes_save_both_kinds_of_checkpoint_without_waiting_in_between(tmp_path):
    """What one thread of each waits for is not what another of them waits for."""
    process = launched(2, 1, sys.executable, "-m", "tests.devices.saving", str(tmp_path))
    assert finished(process).splitlines()[-1] == "saved"
    assert {path.name for path in (tmp_path / "best").iterdir()} == {"14"}


@pytest.mark.fault("F9")
def test_what_two_processes_saved_goes_on_on_any_devices(data_dir, tmp_path):
    """Five runs, on meshes of their own, which five processes compile for themselves: half a minute."""
    wide = ("--steps", 6, "--model.width", 64)  # of the smoke variant nothing would be divided
    flags = (*wide, "--placement.fsdp", 4, "--stop_after", 3)
    said = command("text_transformer", tmp_path / "saved", data_dir, *flags)
    finished(launched(2, 4, *said), code=75)
    experiment = small("text_transformer", steps=6, **{"model.width": 64})
    assert any(leaf.size >= LEAST_ELEMENTS for leaf in jax.tree.leaves(abstract_state(experiment).params))
    alone = trained(experiment, tmp_path / "alone", data_dir, ONE)
    one, eight, two = (shutil.copytree(tmp_path / "saved", tmp_path / name) for name in ("one", "eight", "two"))
    assert_same(trained(experiment, one, data_dir, ONE), alone)
    ended = forking.finish(*forking.call(eight_devices.go_on, str(eight), data_dir), seconds=300)
    assert ended.code == 0, ended.text
    assert_same(eight, alone)
    assert "resumed at step 3" in finished(launched(2, 1, *command("text_transformer", two, data_dir, *wide)))
    assert_same(two, alone)


def test_a_signal_to_one_process_saves_all_at_one_step(data_dir, tmp_path):
    """Twice, each time two processes that import and compile for themselves; and then to the end in this one."""
    folder, flags = tmp_path / "run", ("--steps", 400, "--checkpoint_every", 1000)
    process = launched(2, 1, *command("digits_cnn", folder, data_dir, *flags))
    wait_until(process, folder, 20)
    os.kill(children(process)[1], signal.SIGTERM)
    finished(process, code=75)
    (saved,) = [int(path.name) for path in (folder / "checkpoints" / "latest").iterdir()]
    assert 20 <= saved < 400 and lines(folder)[-1]["step"] == saved
    often = command("digits_cnn", folder, data_dir, *flags[:2], "--checkpoint_every", 1)
    process = launched(2, 1, *often)  # Orbax asks jax's service too, by steps where we count calls
    wait_until(process, folder, saved + 5)
    os.kill(children(process)[1], signal.SIGTERM)
    assert f"resumed at step {saved}" in finished(process, code=75)
    assert lines(folder)[-1]["step"] < 400
    experiment = replace(small("digits_cnn"), {"steps": 400})
    trained(experiment, folder, data_dir, ONE)
    assert_same(folder, trained(experiment, tmp_path / "undisturbed", data_dir, ONE))


@pytest.mark.fault("F2", "F9")
def test_killed_processes_are_started_again_and_end_as_if_nothing_had_happened(programs, data_dir, tmp_path):
    """The one that coordinates is killed; test_launch.py kills the other too.

    The launcher starts both anew, in processes that import and compile for themselves: twenty seconds.
    """
    steps, folder = 200, tmp_path / "killed"
    flags = ("--steps", steps, "--checkpoint_every", 20)
    process = launched(2, 1, *command("digits_cnn", folder, data_dir, *flags))
    wait_until(process, folder, 50)
    os.kill(children(process)[0], signal.SIGKILL)
    out = finished(process)
    assert out.count("resumed at step") == 1 and out.count(f"test at step {steps}") == 1
    undisturbed = replace(small("digits_cnn"), {"steps": steps})
    assert [line["step"] for line in lines(folder)] == [*range(1, steps + 1)]
    assert_same(folder, trained(undisturbed, tmp_path / "undisturbed", data_dir, ONE))
