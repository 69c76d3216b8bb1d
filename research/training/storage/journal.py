"""metrics.jsonl: the truth of a run, one line a report."""

import contextlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from research.errors import RunError
from research.training.storage import sealed
from research.training.storage.files import writing
from research.training.storage.folder import finite


class Best(NamedTuple):
    """The best value of a metric so far, and the step that came to it first."""

    value: float
    step: int


class Mark(NamedTuple):
    """How far a journal had been written when a state was saved, and what it said: plain JSON beside that state."""

    bytes: int
    """Length of the file."""
    digest: str
    """XXH3 of all of it."""
    splits: tuple[str, ...]
    """Those with a line at the step of the state."""
    best: Best | None
    """The best evaluation on validation."""

    @classmethod
    def of(cls, saved: dict[str, Any]) -> "Mark":
        """Return a mark as JSON has it."""
        best = saved["best"] and Best(**saved["best"])
        return cls(saved["bytes"], saved["digest"], tuple(saved["splits"]), best)

    def saved(self) -> dict[str, Any]:
        """Return JSON types."""
        return {**self._asdict(), "splits": list(self.splits), "best": self.best and self.best._asdict()}


class Journal:
    """An append-only file of JSON lines with `step`, `split` and metrics; nothing in it depends on time.

    Opened at the step of a state, it is cut to what was written up to there; what came after is about to be written
    again. So the file of an interrupted run ends up byte for byte that of an undisturbed one. `mark` is what was saved
    beside that state: the file must still begin with the bytes that it had then, and is not parsed. Without one, as
    with states of older releases, all lines are read. A metric that is not finite is written as null. Of several
    processes one `writes`; the others only count along.

    `best` is the best value of the metric `monitor` on validation: one that is not finite never is, and a tie leaves
    the earlier one.

    Raises:
        RunError: the file is not the one that was marked, or a line is damaged; says which.
    """

    def __init__(
        self, path: Path, step: int, monitor: str, maximize: bool, mark: Mark | None = None, writes: bool = True
    ) -> None:
        self._path, self._writes = path, writes
        self._monitor, self._maximize = monitor, maximize
        self._bytes, self._digest = 0, sealed.beginning(path, 0)
        self._step, self._splits = step, set[str]()
        self.best: Best | None = None
        if mark is None:
            self._read_to(step)
        else:
            self._check(mark)
            self._bytes, self._splits, self.best = mark.bytes, set(mark.splits), mark.best
        if writes:
            with writing(path):
                self._seal()
                with path.open("r+b" if path.exists() else "xb") as file:
                    file.truncate(self._bytes)

    def write(self, step: int, split: str, metrics: dict[str, float]) -> None:
        """Append one line, unless this step and split has one: a run that is repeated gives the same numbers."""
        if step == self._step and split in self._splits:
            return
        line = {"step": step, "split": split, **metrics}
        text = (json.dumps(finite(line)) + "\n").encode()
        if self._writes:
            # Not "a": where the folder is gone, that would begin another journal in one that a save has made anew.
            with writing(self._path), self._path.open("r+b") as file:
                file.seek(0, os.SEEK_END)
                file.write(text)
        self._take(line, text)

    def mark(self) -> Mark:
        """Return how far the journal is written, and let that reach the disk before a state that says so.

        Whoever reads the file compares that part with its digest, which is sealed too.
        """
        if self._writes:
            with writing(self._path), self._path.open("r+b") as file:
                os.fsync(file.fileno())
            with contextlib.suppress(OSError):  # then less of it is compared, but by those who resume
                self._seal()
        return Mark(self._bytes, self._digest.hexdigest(), tuple(sorted(self._splits)), self.best)

    def _seal(self) -> None:
        """Say how the file begins from now on."""
        sealed.seal_beginning(self._path, self._bytes, self._digest.hexdigest())

    def _take(self, line: dict[str, Any], text: bytes) -> None:
        """Count a line."""
        if line["step"] != self._step:
            self._step, self._splits = line["step"], set()
        self._splits.add(line["split"])
        self._bytes += len(text)
        self._digest.update(text)
        if line["split"] == "validation":
            value = line.get(self._monitor, math.nan)
            if math.isfinite(value) and (self.best is None or self._better(value, self.best.value)):
                self.best = Best(value, line["step"])

    def _better(self, value: float, other: float) -> bool:
        """Return whether a value beats another."""
        return value > other if self._maximize else value < other

    def _read_to(self, step: int) -> None:
        """Count the lines up to a step."""
        for line, text in _lines(self._path):
            if line["step"] > step:
                break
            self._take(line, text)
        if self._step != step:
            self._step, self._splits = step, set()

    def _check(self, mark: Mark) -> None:
        """Raise `RunError` unless the file begins with what was marked."""
        self._digest = sealed.beginning(self._path, mark.bytes)
        if self._digest.hexdigest() == mark.digest:
            return
        list(_lines(self._path))  # names the line, where one cannot be read
        raise RunError(
            f"{self._path} has lost lines or has others than were written when the state at step {self._step} was "
            "saved; restore the file, or delete the folder's checkpoints to run again from the start"
        )


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a journal; a last line cut short by a kill is left out, a missing file has none.

    Raises:
        RunError: a line is damaged, which is named, or is another one than was written.
    """
    found = [line for line, _ in _lines(path)]
    try:
        sealed.check(path)
    except sealed.DamagedFile as error:
        raise RunError(f"{path} is damaged: {error}; restore it, or delete the run and run it again") from error
    return found


def _lines(path: Path) -> Iterator[tuple[dict[str, Any], bytes]]:
    """Yield the lines of a journal, and each as it stands there. Raises `RunError` where one is damaged."""
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
        except FileNotFoundError:
            return
        for number, text in enumerate(file, start=1):
            if not text.endswith(b"\n"):  # cut short by a kill
                return
            try:
                yield _decode(text), text
            except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
                raise RunError(
                    f"line {number} of {path} is damaged; restore the file or choose another folder"
                ) from error


def _decode(text: bytes) -> dict[str, Any]:
    """Return the line that JSON describes, null as NaN."""
    line = {key: math.nan if value is None else value for key, value in json.loads(text).items()}
    if type(line["step"]) is not int or not isinstance(line["split"], str):
        raise TypeError("it says neither step nor split")
    return line
