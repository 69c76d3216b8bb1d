"""Who works on a folder: claims by exclusive creation, kept alive by a heartbeat.

The claim on attempt n of a folder is the file attempts/n.json, which only one process can create, whole or not at all:
it is written aside and linked. An attempt ends by being marked as over, or when its process is dead, which one that
names no owner is; then anyone may create the file of attempt n + 1. Numbers only grow and no claim is ever removed, so
of two that find the same dead claim one gets the next, whatever their timing.
"""

import contextlib
import json
import os
import secrets
import threading
from pathlib import Path
from typing import Any, NamedTuple

from research.training.storage.files import write
from research.training.storage.liveness import HEARTBEAT, STALE, age, host, process_start_time, still_runs


class Claim(NamedTuple):
    """The right to work on attempt `number` of a folder."""

    folder: Path
    number: int

    @property
    def file(self) -> Path:
        """The file that only its owner could create."""
        return _file(self.folder, self.number)

    def held(self) -> bool:
        """Return whether nobody took over, thinking this process dead, as after the sleep of a laptop."""
        return attempts(self.folder) == self.number


class Claims:
    """The claims of this process, with one heartbeat for all; use as a context manager."""

    def __init__(self, heartbeat: float = HEARTBEAT, stale: float = STALE) -> None:
        self._heartbeat, self._stale = heartbeat, stale
        self._held: set[Claim] = set()
        self._lock, self._over = threading.Lock(), threading.Event()
        self._heart = threading.Thread(target=self._keep_alive, daemon=True)

    def __enter__(self) -> "Claims":
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._heart.join()
        for claim in list(self._held):
            self.release(claim)

    def acquire(self, folder: Path, after: int | None = None) -> Claim | None:
        """Return a claim on the next attempt of a folder, None where another process has it.

        `after` is the attempt that the caller knows of; None is also returned where there has been a later one since.
        Raises `OSError` where the folder cannot be written.
        """
        number = attempts(folder)
        if (after is not None and number != after) or is_claimed(folder, self._stale):
            return None
        claim = Claim(folder, number + 1)
        claim.file.parent.mkdir(parents=True, exist_ok=True)
        # `born`, as files have always called it: earlier versions may work on the same study.
        owner = {"host": host(), "pid": os.getpid(), "born": process_start_time(os.getpid())}
        try:
            _create(claim.file, json.dumps(owner) + "\n")
        except FileExistsError:
            return None
        with self._lock:
            self._held.add(claim)
        return claim

    def release(self, claim: Claim, how: str = "stopped") -> None:
        """End an attempt and say how it went; on a disk too full for that its claim is emptied, which needs no room.

        Else it would count as held as long as this process runs, which may be waiting for it.
        """
        with self._lock:
            self._held.discard(claim)
        try:
            write(claim.file, json.dumps({**_read(claim.file), "over": how}) + "\n")
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(claim.file, 0)

    def _keep_alive(self) -> None:
        """Send a heartbeat for every claim, again and again."""
        while not self._over.wait(self._heartbeat):
            with self._lock:
                for claim in self._held:
                    with contextlib.suppress(OSError):
                        os.utime(claim.file)


def attempts(folder: Path) -> int:
    """Return how often a folder has been worked on."""
    return max((int(path.stem) for path in (folder / "attempts").glob("*.json") if path.stem.isdecimal()), default=0)


def is_claimed(folder: Path, stale: float = STALE) -> bool:
    """Return whether a process works on a folder.

    One of this host is asked for directly: a stopped one will continue, so its silence means nothing, and a dead one
    needs no waiting. One of another host is alive if its last heartbeat is less than `stale` seconds ago.
    """
    number = attempts(folder)
    if not number:
        return False
    file = _file(folder, number)
    claim = _read(file)
    if claim.get("over") or not isinstance(claim.get("host"), str):
        return False
    if claim.get("host") == host():
        return still_runs(claim.get("pid"), claim.get("born"))
    return age(file) < stale


def _file(folder: Path, number: int) -> Path:
    """Return the file of one attempt."""
    return folder / "attempts" / f"{number}.json"


def _create(file: Path, text: str) -> None:
    """Create a file with a text in it, both or neither, as where the disk is full. Raises `FileExistsError`."""
    aside = file.with_name(f".{secrets.token_hex(8)}")
    try:
        aside.write_text(text)
        try:
            os.link(aside, file)
        except FileExistsError:
            raise
        except OSError:  # no links on this file system, such as a mounted drive
            with file.open("x") as created:
                created.write(text)
    finally:
        aside.unlink(missing_ok=True)


def _read(file: Path) -> dict[str, Any]:
    """Return the content of a claim; of one that names no owner, nothing."""
    try:
        claim = json.loads(file.read_text())
    except (OSError, ValueError, RecursionError):
        return {}
    return claim if isinstance(claim, dict) else {}
