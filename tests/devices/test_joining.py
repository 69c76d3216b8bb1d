"""What being one of several processes changes; tests/test_launch.py has several train together."""

import os
import socket
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest

from research import devices
from research.devices import Processes
from research.devices.discovery import VARIABLES
from tests.planning.counting import expected


def test_one_process_alone(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    devices.join()
    devices.join(Processes("host:12", 1, 0))
    assert not devices.joined() and devices.is_main_process() and not devices.stop_agreed()
    devices.barrier("alone")
    tree = devices.whole({"a": jnp.arange(3), "b": np.float32(2)})
    assert tree["a"].tolist() == [0, 1, 2] and isinstance(tree["a"], np.ndarray) and tree["b"] == 2
    with pytest.raises(SystemExit) as exit:
        devices.leave(7)
    assert exit.value.code == 7


def started(folder, variables, *words):
    """A process of its own that counts with others, which `variables` tell of."""
    command = [sys.executable, "-m", "tests.planning.counting", str(folder), *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, env={**os.environ, **variables}, **pipes)


def free_address():
    """Where nobody listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_the_others_do_not_come(tmp_path):
    addresses = [free_address(), free_address()]
    waiting = [
        started(tmp_path, dict(zip(VARIABLES, (address, "2", str(index)), strict=True)), "--timeout", "1.5")
        for index, address in enumerate(addresses)
    ]
    for process, address in zip(waiting, addresses, strict=True):
        out, err = process.communicate(timeout=60)
        assert process.returncode == 1 and out == ""
        assert err == (
            f"not all processes came together at {address} within 1.5 s; start them all, where they can reach it\n"
        )


@pytest.mark.slow
def test_of_a_slurm_step_jax_finds_which_process_this_is(tmp_path):
    """Nothing is asked of Slurm but how many tasks there are."""
    address = free_address()
    here = {"JAX_COORDINATOR_ADDRESS": address, "JAX_COORDINATOR_BIND_ADDRESS": address, "JAX_NUM_CPU_DEVICES": "1"}
    step = {"SLURM_JOB_ID": "7", "SLURM_STEP_NODELIST": "localhost", "SLURM_NTASKS": "2", "SLURM_STEP_NUM_TASKS": "2"}
    tasks = [
        started(tmp_path, {**here, **step, "SLURM_PROCID": index, "SLURM_LOCALID": index}, "--steps", "2")
        for index in ("0", "1")
    ]
    told = [task.communicate(timeout=60) for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], told
    assert [out for out, _ in told] == [f"total {expected(steps=2, devices=2)}\n", ""]
