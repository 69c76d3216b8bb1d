"""Whether the process that wrote a file still runs: asked of this host's kernel, or of the file's last heartbeat."""

import contextlib
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil

HEARTBEAT = 10.0
"""Seconds between two heartbeats: each touches the file."""
STALE = 600.0
"""Seconds without one after which a process on another host counts as dead: sixty missed heartbeats."""

TICKS = 100  # a second: Linux notes in hundredths when a process started, and so have our files always done


def host() -> str:
    """Return a name of what PIDs are unique within: this host, or this container of it."""
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()} {os.readlink(namespace) if namespace.exists() else ''}".strip()


def kernel() -> str:
    """Return a name of what a lock of the kernel reaches: this host since its boot, with all its containers."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text().strip() if boot.exists() else socket.gethostname()


def process_start_time(pid: int) -> str | None:
    """Return when a process started, in hundredths of a second since boot; None where no process of this PID runs.

    PIDs are reused, so the start time identifies the process. It is counted from boot, because the time of day at which
    a process started is another one once the clock has been set, and a living process would be taken for dead.
    """
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):  # ended, and its parent has not taken note
            return None
        return str(round((process.create_time() - psutil.boot_time()) * TICKS))
    except (psutil.NoSuchProcess, ValueError):  # ValueError: a file may be damaged, and no PID is negative
        return None


def still_runs(pid: object, start_time: object) -> bool:
    """Return whether the process of this host that noted its PID and start time still runs."""
    started = process_start_time(pid) if isinstance(pid, int) else None
    # Where there is no /proc, as on a Mac, earlier versions noted "": any process of that PID is believed.
    return started is not None and start_time in (started, "")


def age(file: Path) -> float:
    """Return the seconds since a file was touched, by the clock of the file system: clocks of hosts differ."""
    with _probe(file.parent) as probe:
        return probe.stat().st_mtime - file.stat().st_mtime


@contextlib.contextmanager
def _probe(folder: Path) -> Iterator[Path]:
    """Give a file made just now."""
    probe = folder / f".{secrets.token_hex(8)}"
    try:
        probe.touch()
        yield probe
    finally:
        probe.unlink(missing_ok=True)
