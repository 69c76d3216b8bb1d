"""Asks whether anything is under way behind a call that all processes have come to.

python -m tests.devices.connected, in each process.
"""

import os
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from research.devices import join, whole


def sockets() -> int:
    """Return how many connections this process has."""
    links = [Path("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    return sum(os.readlink(link).startswith("socket") for link in links if link.is_symlink())


@jax.jit
def late(one: jax.Array) -> jax.Array:
    """Return a one, after a while."""
    product = jax.lax.fori_loop(0, 100, lambda _, x: jnp.tanh(x @ x), jnp.full((400, 400), one[0]))
    return jnp.where(product.mean() > 2, 0.0, one)


def started() -> list[jax.Array]:
    """Return a one on each device of this process: the first has it, the others compute theirs yet."""
    first, *others = (jax.device_put(jnp.ones(1), device) for device in jax.local_devices())
    return [first, *map(late, others)]


if __name__ == "__main__":
    join()
    jax.block_until_ready(started())  # compiled
    mesh = Mesh(np.array(jax.devices()).reshape(jax.process_count(), -1), ("processes", "devices"))
    divided, before = NamedSharding(mesh, PartitionSpec("processes")), sockets()
    pieces = started()
    array = jax.make_array_from_single_device_arrays((jax.process_count(),), divided, pieces)
    assert whole({"array": array})["array"].tolist() == [1.0] * jax.process_count()
    returned = sockets()
    jax.block_until_ready(pieces)
    time.sleep(1)
    assert before < returned == sockets(), "some devices were still connecting"
    print("connected")
