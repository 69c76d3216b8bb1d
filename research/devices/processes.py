"""Several processes that train one run together: joining them, who of them leads, and stopping all at the same step.

Each has the same experiment, takes the same steps in the same order, and holds its part of every array. A signal comes
to one of them alone, so they agree on the step to stop at: see `stop_agreed`.
"""

import dataclasses
import os
import signal
import sys
import threading
import urllib.request
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from research.errors import RunError, UsageError

# When a process is killed, the others wait for it in a collective and are ended after this: 7 s were measured, and 83 s
# with the default of 100.
HEARTBEAT_SECONDS = 10

# At its end each process waits for all. The one that leads has files to write meanwhile, so the others are patient: one
# that is killed is found by its heartbeat, and one that fails does not wait (`leave`).
SHUTDOWN_SECONDS = 3600

METADATA_SECONDS = 1  # on a host that has no such service


@dataclasses.dataclass(frozen=True)
class Processes:
    """Which of several processes this one is; found by itself under `research.launch`, Slurm and on a TPU pod."""

    coordinator: str | None = None
    """HOST:PORT where process 0 listens and all can reach it."""
    count: int | None = None
    """How many processes there are."""
    index: int | None = None
    """Which one this is, from 0 on."""


FLAGS = ("--processes.coordinator", "--processes.count", "--processes.index")
VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")  # jax itself reads the first


def join(processes: Processes = Processes(), trains: bool = True, timeout: float = 300) -> None:
    """Connect this process with the others where there are several; alone, or joined already, do nothing.

    Must come before anything that asks jax for a device. On a CPU they communicate over Gloo. From then on SIGTERM no
    longer ends a process that `trains` (`stop_agreed`), an error that nobody catches ends it at once (`leave`), and of
    what is written to standard output only what Python writes is seen.

    Raises:
        UsageError: what says which process this is, is incomplete or contradicts itself.
        RunError: not all have come within `timeout` seconds.
    """
    if jax.distributed.is_initialized():
        return
    platforms: str | None = jax.config.jax_platforms  # type: ignore[attr-defined]  # jax names the TPU where it sees one
    found = find(processes, os.environ, tpu="tpu" in (platforms or "").split(","))
    if found is None or found.count == 1:
        return
    jax.config.update("jax_enable_preemption_service", trains)
    _connect(found, timeout)
    sys.excepthook = _leave_after
    _keep_output_for_python()


def find(processes: Processes, environment: Mapping[str, str], tpu: bool) -> Processes | None:
    """Return which of several processes this is, None where it is alone; what is None in it jax finds by itself.

    In this order: what is given, the variables that `research.launch` sets, a Slurm step of several tasks, and a TPU
    pod where this is a TPU host. Raises `UsageError` where only a part is given.
    """
    if processes != Processes():
        return _complete(dict(zip(FLAGS, dataclasses.astuple(processes), strict=True)))
    coordinator, count, index = VARIABLES
    address = environment.get(coordinator)
    if count in environment or index in environment:
        return _complete({coordinator: address, count: environment.get(count), index: environment.get(index)})
    # SLURM_NTASKS is also set in a batch script, which is one process that starts the steps.
    if (tasks := int(environment.get("SLURM_STEP_NUM_TASKS", 1))) > 1:
        return Processes(address, tasks, int(environment["SLURM_PROCID"]))
    if tpu and _in_a_pod(environment):
        return Processes(address)
    return _complete({coordinator: address, count: None, index: None}) if address else None


def _complete(named: dict[str, Any]) -> Processes:
    """Return three values, given under these names. Raises `UsageError` where they are not right."""
    if missing := [name for name, value in named.items() if value is None]:
        given = [name for name in named if name not in missing]
        raise UsageError(f"{' and '.join(given)} needs {' and '.join(missing)} too")
    (coordinator, address), *numbers = named.items()
    if not str(address).rpartition(":")[0] or not address.rpartition(":")[2].isdecimal():
        raise UsageError(f'{coordinator} must be HOST:PORT, not "{address}"')
    for name, value in numbers:
        if not str(value).isdecimal():
            raise UsageError(f'{name} must be a number from 0 on, not "{value}"')
    (_, count), (name, index) = numbers
    if int(index) >= int(count):
        raise UsageError(f"{name} must be less than the number of processes, {count}, not {index}")
    return Processes(address, int(count), int(index))


def _in_a_pod(environment: Mapping[str, str]) -> bool:
    """Return whether a TPU host is one of several."""
    hosts = environment.get("TPU_PROCESS_ADDRESSES") or environment.get("TPU_WORKER_HOSTNAMES") or ""
    if not hosts and "TPU_SKIP_MDS_QUERY" not in environment:
        hosts = _metadata("worker-network-endpoints", environment)
    return "," in hosts or int(environment.get("MEGASCALE_NUM_SLICES") or 1) > 1


def _metadata(key: str, environment: Mapping[str, str]) -> str:
    """Return what the metadata service of Google Cloud says about this host, or nothing where there is none."""
    service = environment.get("GCE_METADATA_IP", "metadata.google.internal")
    url = f"http://{service}/computeMetadata/v1/instance/attributes/{key}"
    request = urllib.request.Request(url, headers={"Metadata-Flavor": "Google"})
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=METADATA_SECONDS) as it:
            return str(it.read().decode())
    except OSError:
        return ""


def _connect(processes: Processes, timeout: float) -> None:
    """Start jax's service. Raises `RunError` where that fails or takes too long."""
    errors: list[Exception] = []

    def initialize() -> None:
        try:
            # Where gRPC goes past the proxy, jax's warning of a hang is wrong.
            jax.config.update("jax_check_proxy_envs", "no_grpc_proxy" not in os.environ)
            jax.distributed.initialize(
                processes.coordinator,
                processes.count,
                processes.index,
                # Told everything, it need not ask Slurm, Kubernetes or Google.
                cluster_detection_method=None if processes.index is None or not processes.coordinator else "deactivate",
                initialization_timeout=int(timeout) + 3600,
                heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
                shutdown_timeout_seconds=SHUTDOWN_SECONDS,
            )
        except Exception as error:
            errors.append(error)

    # jax does not raise when time is up but aborts the process with a stack trace, so time is taken here.
    thread = threading.Thread(target=initialize, daemon=True)
    thread.start()
    thread.join(timeout)
    where = processes.coordinator or "the address that the cluster names"
    if thread.is_alive():
        raise RunError(
            f"not all processes came together at {where} within {timeout:g} s; start them all, where they can reach it"
        )
    if errors:
        raise RunError(f"joining the other processes at {where} failed: {errors[0]}") from errors[0]


def _keep_output_for_python() -> None:
    """Drop what is written past `sys.stdout`: Gloo says of every group of devices that they are connected."""
    if sys.stdout is not sys.__stdout__ or sys.stdout is None:
        return
    sys.stdout.flush()
    own = os.fdopen(os.dup(1), "wb", 0 if sys.stdout.write_through else -1)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    sys.stdout = sys.__stdout__ = type(sys.stdout)(  # type: ignore[call-arg, misc]
        own,
        encoding=sys.stdout.encoding,
        errors=sys.stdout.errors,
        line_buffering=sys.stdout.line_buffering,
        write_through=sys.stdout.write_through,
    )


def _leave_after(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> NoReturn:
    """Show an error that nobody caught and exit."""
    sys.__excepthook__(kind, error, trace)
    leave(1)


def leave(code: int) -> NoReturn:
    """Exit after an error; one of several processes at once, for an orderly exit waits until all have come to it."""
    if not jax.distributed.is_initialized():
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def joined() -> bool:
    """Return whether this process is one of several."""
    return bool(jax.distributed.is_initialized())


def leads() -> bool:
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
        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)


def barrier(name: str) -> None:
    """Wait until all processes have come to the barrier of this name."""
    if joined():
        multihost_utils.sync_global_devices(name)


def agreed(here: bool) -> bool:
    """Return whether something is so in every process; all must call it."""
    return here if not joined() else bool(np.all(multihost_utils.process_allgather(np.array(here))))
