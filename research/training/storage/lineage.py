"""lineage.jsonl: what became of a run, one line an event; nothing of it decides a number, and nothing is taken back.

began, resumed      from `step` on, by which process, on what; `share` is this run's part of the process
drifted             what has `changed` since the start before
lost                the process before was killed; `since` and `until` are its beginning and last heartbeat
interrupted, failed, finished
                    at `step`, with the `seconds` of the run by phase and the `life` of the process
damaged             a checkpoint that was left out
rewound, rolled back
                    from `step` to an earlier one
"""

import datetime
import json
import logging
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

Event = dict[str, Any]
STARTS = ("began", "resumed")


class Lineage:
    """An append-only file of JSON lines with `time` and `event`; of several processes one `writes`."""

    def __init__(
        self,
        path: Path,
        writes: bool = True,
        now: Callable[[], datetime.datetime] = lambda: datetime.datetime.now(datetime.UTC),
    ) -> None:
        self._path, self._writes, self._now = path, writes, now

    def add(self, event: str, **facts: Any) -> None:
        """Append one event, on disk when this returns; a disk that does not take it is no reason to fail."""
        if not self._writes:
            return
        line = json.dumps({"time": self._now().isoformat(timespec="milliseconds"), "event": event, **facts})
        try:
            append(self._path, line)
        except OSError as error:
            log.warning("%s lacks that the run %s: %s", self._path, event, error.strerror)

    def events(self) -> list[Event]:
        """Return all events so far."""
        return read(self._path)


def append(path: Path, line: str) -> None:
    """Append one line, on disk when this returns; one that a kill cut short before it is ended first."""
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            line = line if file.read(1) == b"\n" else f"\n{line}"
        file.write(f"{line}\n".encode())
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> list[Event]:
    """Return the JSON objects of a file, one a line; what a kill cut short is left out, a missing file has none."""
    if not path.exists():
        return []
    found = []
    for text in path.read_bytes().splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict):
            found.append(line)
    return found


def carried(events: Iterable[Event], step: int, saved: dict[str, float]) -> dict[str, float]:
    """Return the seconds by phase of a run up to `step`, of which its checkpoint says what they were before it.

    Where the run was interrupted there, the seconds that the checkpoint itself took are known, and in them.
    """
    for event in reversed(list(events)):
        seconds = event.get("seconds", {})
        if (event.get("event"), event.get("step"), seconds.get("step")) == ("interrupted", step, saved.get("step")):
            return seconds
    return saved


def starts(events: Iterable[Event]) -> int:
    """Return how often a run was begun or resumed."""
    return sum(event.get("event") in STARTS for event in events)


def total_process_seconds(events: Iterable[Event]) -> float:
    """Return the seconds that all processes of a run took which have ended, those that were killed too.

    A process that advances several runs counts as a part for each.
    """
    total, share = 0.0, 1.0
    for event in events:
        if event.get("event") in STARTS:
            share = event.get("share", 1.0)
        lost = event.get("event") == "lost"
        total += share * (event.get("until", 0.0) - event.get("since", 0.0)) if lost else event.get("life", 0.0)
    return total
