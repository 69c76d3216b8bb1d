"""Who runs in a folder: the kernel's lock on a file, and in the file its owner, for whoever is refused.

The kernel releases the lock when its owner dies, however that comes. It does not reach the processes of other hosts
that share the folder, so of an owner on another host its last heartbeat decides.
"""

import contextlib
import datetime
import errno
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from research.errors import RunError
from research.training.storage.liveness import HEARTBEAT, STALE, age, host, kernel, process_start_time, still_runs

UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class Owner(NamedTuple):
    """The process that holds a lock."""

    pid: int
    host: str
    kernel: str
    process_start_time: str | None
    """PIDs are reused, so the start time identifies the process; the file calls it `born`, as it always has."""
    since: float
    """When what it does there began, in seconds since 1970."""

    def __str__(self) -> str:
        began = datetime.datetime.fromtimestamp(self.since)
        return f"pid {self.pid} on {self.host.split()[0]}, since {began:%Y-%m-%d %H:%M}"


class DeadOwner(NamedTuple):
    """An owner that died while it held the lock, and its last heartbeat in seconds since 1970."""

    owner: Owner
    until: float


class Lock:
    """A lock that this process holds."""

    def __init__(self, file: Path, owner: Owner, taken_from: DeadOwner | None) -> None:
        self.file, self.owner, self.taken_from = file, owner, taken_from

    def heartbeat(self) -> None:
        """Show that this process is alive, by touching the file.

        Raises:
            RunError: a process on another host took over meanwhile, thinking this one dead.
        """
        now = _read(self.file)
        if now is not None and now != self.owner:
            raise RunError(f"another process ({now}) took over {self.file.parent}, as this one had no heartbeat")
        with contextlib.suppress(OSError):  # such as a folder that was deleted: what is saved there will say so
            os.utime(self.file)


@contextlib.contextmanager
def held(path: Path, since: float | None = None, heartbeat: float = HEARTBEAT, stale: float = STALE) -> Iterator[Lock]:
    """Hold the lock `path`, for something that began at `since`, by default now.

    The lock of a dead owner is taken over: of one on this host at once, of one on another `stale` seconds after its
    last heartbeat. While it is held there is one every `heartbeat` seconds. Leaving removes the owner's name; the file
    stays.

    Raises:
        OSError: the file cannot be written.
        RunError: another process holds it; names it.
    """
    with path.open("a+") as file:
        reaches = _locked(file, path)
        before = _read(path)
        if before is not None and (silent := _silence(before, path, reaches, stale)) is not None:
            raise RunError(
                f"another process ({before}) is running in {path.parent}, its last heartbeat {silent:.0f} s ago; "
                f"wait for it or stop it, after {stale:.0f} s without one the folder is free"
            )
        # The clock of a file is coarser than that of a process.
        dead = None if before is None else DeadOwner(before, max(path.stat().st_mtime, before.since))
        pid, began = os.getpid(), time.time() if since is None else since
        owner = Owner(pid, host(), kernel(), process_start_time(pid), began)
        _write(file, _to_json(owner) + "\n")
        lock, over = Lock(path, owner, dead), threading.Event()
        heart = threading.Thread(target=_keep_alive, args=(lock, over, heartbeat), daemon=True)
        heart.start()
        try:
            yield lock
        finally:
            over.set()
            heart.join()
            if _read(path) == owner:
                with contextlib.suppress(OSError):
                    _write(file, "")


def _locked(file: IO[str], path: Path) -> bool:
    """Take the kernel's lock; return whether there is one, which some file systems lack. Raises `RunError`."""
    import fcntl  # POSIX only

    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = _read(path)
        named = "" if owner is None else f" ({owner})"
        raise RunError(f"another process{named} is running in {path.parent}; wait for it or stop it") from None
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        return False
    return True


def _silence(owner: Owner, path: Path, reaches: bool, stale: float) -> float | None:
    """Return the seconds since the last heartbeat of an owner that may still run, None of one that does not."""
    if reaches and owner.kernel == kernel():
        return None
    if owner.host == host():
        return age(path) if still_runs(owner.pid, owner.process_start_time) else None
    silent = age(path)
    return silent if silent < stale else None


def _keep_alive(lock: Lock, over: threading.Event, heartbeat: float) -> None:
    """Send heartbeats until it is over; that somebody else has the lock is found by the next save."""
    while not over.wait(heartbeat):
        with contextlib.suppress(RunError):
            lock.heartbeat()


def _read(path: Path) -> Owner | None:
    """Return the owner that a file names, None where it names none."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        owner = Owner(process_start_time=content.pop("born"), **content)
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None
    return owner if isinstance(owner.host, str) and isinstance(owner.since, float) else None


def _to_json(owner: Owner) -> str:
    """Return how a file names an owner."""
    content = owner._asdict()
    return json.dumps({"born": content.pop("process_start_time"), **content})


def _write(file: IO[str], text: str) -> None:
    """Replace the content of a file in place: another one of its name would not be locked."""
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()
