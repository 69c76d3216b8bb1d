"""Whether the process that left a file still lives: asked of this host's kernel, or of the file's last touch."""

import contextlib
import os
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

BEAT = 10.0
"""Seconds between two signs of life."""
STALE = 600.0
"""Seconds without one after which a process on another host counts as dead: sixty missed beats."""


def host() -> str:
    """Return a name of what process numbers are unique within: this host, or this container of it."""
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()} {os.readlink(namespace) if namespace.exists() else ''}".strip()


def kernel() -> str:
    """Return a name of what a lock of the kernel reaches: this host since it was started, with all its containers."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    return boot.read_text().strip() if boot.exists() else socket.gethostname()


def born(pid: int) -> str | None:
    """Return when a process began, None where there is no such process; numbers are given again, to younger ones."""
    try:
        # The fields after the name, which may hold anything: state, ..., start in clock ticks since boot.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in "ZX" else fields[19]
    except FileNotFoundError:
        return None if Path("/proc/self").exists() or not _exists(pid) else ""


def _exists(pid: int) -> bool:
    """Return whether there is a process, where /proc does not tell."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


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
