"""What several processes that train one run agree on: who of them leads, when all stop, and what all of them know.

Each has the same experiment, takes the same steps in the same order, and holds its part of every array. A signal comes
to one of them alone, so they agree on the step to stop at: see `stop_agreed`.
"""

import signal
import zlib
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec


def joined() -> bool:
    """Return whether this process is one of several."""
    return bool(jax.distributed.is_initialized())


def is_main_process() -> bool:
    """Return whether this is process 0, which alone prints and writes what all know."""
    return jax.process_index() == 0


class Agreement:
    """Whether all processes are to stop now: called by each after the same steps, it returns True to all at the same.

    Any of them is asked by SIGTERM. jax has taken over that signal: a thread of its looks for it once a second, tells
    the others, and holds up this call in each until all have said how often they came here; the call after the last of
    these returns True, as do all that follow. Without a signal a call takes less than a microsecond.
    """

    def __init__(self) -> None:
        self._calls, self._reached = 0, False

    def __call__(self) -> bool:
        self._calls += 1
        # Calls are counted rather than steps, of which there may be several in a call, so that none is left out.
        self._reached = self._reached or multihost_utils.reached_preemption_sync_point(self._calls)
        return self._reached


stop_agreed = Agreement()


def ask_to_stop() -> None:
    """Let all processes stop at the next step on which they agree; of these only those that call `stop_agreed`."""
    signal.raise_signal(signal.SIGTERM)


def whole(tree: Any) -> Any:
    """Return a tree of arrays with numpy arrays in their place, all of each, in every process; all must call it."""
    return jax.tree.map(_whole, tree)


def _whole(leaf: Any) -> np.ndarray:
    """Return all of an array, from wherever its parts lie."""
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        assert isinstance(leaf.sharding, NamedSharding)
        return _replicated(leaf, leaf.sharding.mesh)
    return np.asarray(leaf)


def barrier(name: str) -> None:
    """Wait until all processes have come to the barrier of this name."""
    if joined():
        names = _gathered(np.array(zlib.crc32(name.encode()), np.uint32))
        assert (names == names[0]).all(), f"another process has not come to {name!r} but to another barrier"


def agreed(here: bool) -> bool:
    """Return whether something is so in every process; all must call it."""
    return bool(_gathered(np.array(here)).all()) if joined() else here


def _gathered(here: np.ndarray) -> np.ndarray:
    """Return what each process has here, stacked by process; all must call it."""
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    mesh = Mesh(np.array(devices).reshape(jax.process_count(), -1), ("processes", "devices"))
    divided = NamedSharding(mesh, PartitionSpec("processes"))
    return _replicated(jax.make_array_from_process_local_data(divided, here[None]), mesh)


def _replicated(array: jax.Array, mesh: Mesh | AbstractMesh) -> np.ndarray:
    """Return all of an array whose parts lie on a mesh of several processes, once every device here has it.

    One would do to continue. But the others may be connecting to their like in other processes yet, over Gloo, and
    where the process ends meanwhile they wait for minutes for those that have gone: 189 s were measured. Hence not
    `process_allgather` and `sync_global_devices` of jax, which return as soon as the first device is done.
    """
    copies = jax.jit(_identity, out_shardings=NamedSharding(mesh, PartitionSpec()))(array)
    return np.asarray(jax.block_until_ready(copies).addressable_data(0))


def _identity(array: jax.Array) -> jax.Array:
    """Return an array; a function of the module, so that it is compiled once for each kind of array."""
    return array
