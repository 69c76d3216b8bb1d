"""Who runs in a folder: the kernel's lock on a file, and in the file its owner, for whoever is refused.

The kernel gives the lock free when its owner dies, however that comes. It does not reach the processes of other hosts
that share the folder, so of an owner on another host its last sign of life decides.
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
from research.training.storage.liveness import BEAT, STALE, age, born, host, kernel

UNSUPPORTED = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class Owner(NamedTuple):
    """The process that holds a lock; `since` when what it does there began, in seconds since 1970."""

    pid: int
    host: str
    kernel: str
    born: str | None
    since: float

    def __str__(self) -> str:
        began = datetime.datetime.fromtimestamp(self.since)
        return f"pid {self.pid} on {self.host.split()[0]}, since {began:%Y-%m-%d %H:%M}"


class Left(NamedTuple):
    """What an owner that no longer lives has left, and its last sign of life in seconds since 1970."""

    owner: Owner
    until: float


class Lock:
    """A lock that this process holds."""

    def __init__(self, file: Path, owner: Owner, left: Left | None) -> None:
        self.file, self.owner, self.left = file, owner, left

    def beat(self) -> None:
        """Give a sign of life.

        Raises:
            RunError: a process on another host took over meanwhile, thinking this one dead.
        """
        now = _read(self.file)
        if now is not None and now != self.owner:
            raise RunError(f"another process ({now}) took over {self.file.parent}, as this one gave no sign of life")
        with contextlib.suppress(OSError):  # such as a folder that was deleted: what is saved there will say so
            os.utime(self.file)


@contextlib.contextmanager
def held(path: Path, since: float | None = None, beat: float = BEAT, stale: float = STALE) -> Iterator[Lock]:
    """Hold the lock `path`, for something that began at `since`, by default now.

    An owner that no longer lives has its lock taken over: one of this host at once, one of another `stale` seconds
    after its last sign of life. Leaving removes the owner's name; the file stays.

    Raises:
        OSError: the file cannot be written.
        RunError: another process holds it; names it.
    """
    with path.open("a+") as file:
        reaches = _locked(file, path)
        before = _read(path)
        if before is not None and (silent := _silence(before, path, reaches, stale)) is not None:
            raise RunError(
                f"another process ({before}) is running in {path.parent} and gave a sign of life {silent:.0f} s ago; "
                f"wait for it or stop it, after {stale:.0f} s without one the folder is free"
            )
        # The clock of a file is coarser than that of a process.
        left = None if before is None else Left(before, max(path.stat().st_mtime, before.since))
        owner = Owner(os.getpid(), host(), kernel(), born(os.getpid()), time.time() if since is None else since)
        _write(file, json.dumps(owner._asdict()) + "\n")
        lock, over = Lock(path, owner, left), threading.Event()
        heart = threading.Thread(target=_keep_beating, args=(lock, over, beat), daemon=True)
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
    """Return the seconds since the last sign of life of an owner that may still live, None of one that does not."""
    if reaches and owner.kernel == kernel():
        return None
    if owner.host == host():
        return age(path) if born(owner.pid) == owner.born else None
    silent = age(path)
    return silent if silent < stale else None


def _keep_beating(lock: Lock, over: threading.Event, beat: float) -> None:
    """Give signs of life until it is over, or until somebody else has the lock, which the next save finds."""
    while not over.wait(beat):
        with contextlib.suppress(RunError):
            lock.beat()


def _read(path: Path) -> Owner | None:
    """Return the owner that a file names, None where it names none."""
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        owner = Owner(**content)
    except (OSError, ValueError, TypeError):
        return None
    return owner if isinstance(owner.host, str) and isinstance(owner.since, float) else None


def _write(file: IO[str], text: str) -> None:
    """Replace the content of a file in place: another one of its name would not be locked."""
    file.seek(0)
    file.truncate()
    file.write(text)
    file.flush()
