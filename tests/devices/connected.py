"""Asks whether anything goes on behind a call that all processes have come to.

python -m tests.devices.connected, in each process.
"""

import os
import time
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from research.devices import join, whole


def sockets() -> int:
    """Return how many connections this process has."""
    links = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    return sum(os.readlink(link).startswith("socket") for link in links if link.is_symlink())


def gather(offset: int) -> None:
    """Gather what each device of one process has and one of the other, which are connected for it."""
    here, there = np.array(jax.devices()).reshape(jax.process_count(), -1)
    divided = NamedSharding(Mesh([here, np.roll(there, offset)], ("processes", "devices")), PartitionSpec("processes"))
    numbers = np.arange(2)
    array = jax.make_array_from_callback(numbers.shape, divided, numbers.__getitem__)
    assert whole({"array": array})["array"].tolist() == numbers.tolist()


if __name__ == "__main__":
    join()
    for offset in range(jax.local_device_count()):
        before = sockets()
        gather(offset)
        returned = sockets()
        time.sleep(0.2)
        assert before < returned == sockets(), "some devices were still connecting"
    print("connected")
