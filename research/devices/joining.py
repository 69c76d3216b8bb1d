"""Joining the other processes that train a run, and leaving them after an error."""

import os
import sys
import threading
from types import TracebackType
from typing import NoReturn

import jax

from research.devices.discovery import Processes, find
from research.errors import RunError

# When a process is killed, the others wait for it in a collective and are ended after this: 7 s were measured, and 83 s
# with the default of 100.
HEARTBEAT_SECONDS = 10

# At its end each process waits for all. The one that leads has files to write meanwhile, so the others are patient: one
# that is killed is found by its heartbeat, and one that fails does not wait (`leave`).
SHUTDOWN_SECONDS = 3600


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
                cluster_detection_method=None if processes.index is None else "deactivate",
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
