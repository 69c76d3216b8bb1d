"""metrics.jsonl: the truth of a run, one line a report."""

import json
import math
import os
from pathlib import Path
from typing import Any

from research.errors import RunError
from research.training.storage.folder import finite, partial_file, writing


class Journal:
    """An append-only file of JSON lines with `step`, `split` and metrics; nothing in it depends on time.

    Opened at `step`, it keeps the lines up to that step and drops what came after, which the run is about to write
    again. So the file of an interrupted run ends up byte for byte that of an undisturbed one. A metric that is not
    finite is written as null. Of several processes one `writes`; the others keep the same lines in memory.
    """

    def __init__(self, path: Path, step: int, writes: bool = True) -> None:
        self._path, self._writes = path, writes
        self.lines = [line for line in read(path) if line["step"] <= step]
        self._written = {(line["step"], line["split"]) for line in self.lines}
        if writes:
            with writing(path), partial_file(path) as partial:
                partial.write_text("".join(map(_encode, self.lines)))

    def write(self, step: int, split: str, metrics: dict[str, float]) -> None:
        """Append one line, unless this step and split has one: a run that is repeated gives the same numbers."""
        if (step, split) in self._written:
            return
        self._written.add((step, split))
        self.lines.append({"step": step, "split": split, **metrics})
        if self._writes:
            # Not "a": where the folder is gone, that would begin another journal in one that a save has made anew.
            with writing(self._path), self._path.open("r+") as file:
                file.seek(0, os.SEEK_END)
                file.write(_encode(self.lines[-1]))


def read(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a journal; a last line cut short by a kill is left out, a missing file has none.

    Raises:
        RunError: a line is damaged; names it.
    """
    if not path.exists():
        return []
    lines = []
    for number, text in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            lines.append(_decode(text))
        except (ValueError, TypeError, AttributeError, KeyError, RecursionError) as error:
            raise RunError(f"line {number} of {path} is damaged; restore the file or choose another folder") from error
    return lines


def is_best(history: list[float], maximize: bool) -> bool:
    """Return whether the last value beats all before it; NaN never does, and a tie leaves the earlier one best."""
    *before, last = history if maximize else [-value for value in history]
    return last > max((value for value in before if not math.isnan(value)), default=-math.inf)


def _encode(line: dict[str, Any]) -> str:
    """Return a line of JSON."""
    return json.dumps(finite(line)) + "\n"


def _decode(text: bytes) -> dict[str, Any]:
    """Return the line that JSON describes, null as NaN."""
    line = {key: math.nan if value is None else value for key, value in json.loads(text).items()}
    if type(line["step"]) is not int or not isinstance(line["split"], str):
        raise TypeError("it says neither step nor split")
    return line
