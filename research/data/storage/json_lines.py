"""JSON Lines: an object a line, whose names are columns, as https://jsonlines.org says."""

import codecs
import collections
import dataclasses
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from research.data.storage import precision
from research.errors import UsageError
from research.fields import LARGEST

Column = np.ndarray | str
"""Numbers [n], NaN where one is missing, float32 where that holds them; or the sentence that says what is none."""

_ROWS = 4096  # numbers kept as Python's objects at a time


def read(path: str) -> dict[str, Column]:
    """Return each column by its name, in the order of first appearance; true is 1, and null or no such name is missing.

    Raises:
        UsageError: the file cannot be read, or a line is no object.
    """
    columns: dict[str, _Growing] = {}
    rows = 0
    for row, entries in enumerate(_objects(path)):
        for name, value in entries.items():
            columns.setdefault(name, _Growing(path, name)).add(value, row)
        rows = row + 1
    if not columns:
        raise UsageError(f'{path} holds no objects; each line must be one, such as {{"size": 3, "price": 100}}')
    return {name: column.column(rows) for name, column in columns.items()}


def words(path: str, name: str) -> tuple[str, ...]:
    """Return a column [n] as text: strings without the blanks around them, all else as JSON; "" where it is missing.

    Raises:
        UsageError: as `read`.
    """
    values = (entries.get(name) for entries in _objects(path))
    return tuple(
        "" if value is None else value.strip() if isinstance(value, str) else json.dumps(value) for value in values
    )


def texts(path: str, name: str) -> tuple[str, ...]:
    """Return the strings of a column [n] as they are.

    Raises:
        UsageError: as `read`; a line has no string of that name.
    """
    found = []
    for row, entries in enumerate(_objects(path)):
        if not isinstance(text := entries.get(name), str):
            names = ", ".join(key for key, value in entries.items() if isinstance(value, str)) or "none"
            raise UsageError(f'{place(path, row)}: there is no text "{name}"; the texts there are: {names}')
        found.append(text)
    if not found:
        raise UsageError(f'{path} is empty; each line must be an object, such as {{"{name}": "Once upon a time"}}')
    return tuple(found)


def place(path: str, row: int) -> str:
    """Return in words where a row, counted from 0, is in its file."""
    return f"{path}, line {row + 1}"


@dataclasses.dataclass
class _Growing:
    """A column while its file is read; after a value that is no number nothing is kept but why."""

    path: str
    name: str
    parts: list[np.ndarray] = dataclasses.field(default_factory=list)
    numbers: list[float] = dataclasses.field(default_factory=list)
    rows: int = 0
    fault: str = ""

    def add(self, value: Any, row: int) -> None:
        """Take the value of a row; those between the last one and it had none."""
        if self.fault:
            return
        number = _number(value)
        if number is None:
            what = json.dumps(value, ensure_ascii=False)
            shown = what if len(what) <= 40 else f"{what[:37]}..."
            self.fault = (
                f'{place(self.path, row)}, "{self.name}": {shown} is not a finite number; write null where a value is '
                "missing"
            )
            self.parts, self.numbers = [], []
            return
        self._pad(row)
        self.numbers.append(number)
        self.rows += 1
        if len(self.numbers) >= _ROWS:
            self._pack()

    def column(self, rows: int) -> Column:
        """Return what has come of it in a file of so many rows."""
        if self.fault:
            return self.fault
        self._pad(rows)
        self._pack()
        return precision.narrowed(np.concatenate(self.parts))

    def _pad(self, row: int) -> None:
        """Let values be missing up to a row."""
        if row > self.rows:
            self._pack()
            self.parts.append(np.full(row - self.rows, np.nan))
            self.rows = row

    def _pack(self) -> None:
        """Keep in an array what was kept as objects."""
        self.parts.append(np.array(self.numbers, np.float64))
        self.numbers = []


def _number(value: Any) -> float | None:
    """Return a number, NaN where there is none; None where a value is something else."""
    if value is None:
        return math.nan
    if isinstance(value, int | float) and (abs(value) <= LARGEST or value != value):
        return float(value)
    return None


def _objects(path: str) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file. Raises `UsageError` where a line is none, or holds one name twice."""
    empty = None
    try:
        with Path(path).expanduser().open("rb") as file:
            for row, line in enumerate(file):
                if not line.strip():
                    empty = row if empty is None else empty
                    continue
                if empty is not None:  # only what ends the file may be empty
                    raise UsageError(f"{place(path, empty)} is empty; each line must be an object")
                yield _object(line.removeprefix(codecs.BOM_UTF8) if not row else line, place(path, row))
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _object(line: bytes, where: str) -> dict[str, Any]:
    """Return the object of a line. Raises `UsageError`, which says where it is."""

    def named(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Return an object, in which Python would take the last of two values of one name."""
        names = collections.Counter(name for name, _ in pairs)
        for name, times in names.items():
            if times > 1:
                raise UsageError(f'{where}: the name "{name}" is there {times} times')
        return dict(pairs)

    try:
        found = json.loads(line.decode(), object_pairs_hook=named)
        if b"\\u" in line:
            json.dumps(found, ensure_ascii=False).encode()  # half a character can be written in JSON
    except UsageError:
        raise
    except UnicodeError as error:
        raise UsageError(f"{where}: this is not UTF-8 text; save the file as UTF-8") from error
    except json.JSONDecodeError as error:
        reason = f"{error.msg.removesuffix(' at')} at character {error.pos + 1}"
        raise UsageError(f"{where}: this is not JSON, or cut short: {reason}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: a number in it is too long, or it is nested too deeply") from error
    if not isinstance(found, dict):
        raise UsageError(f'{where} is no object, such as {{"size": 3, "price": 100}}')
    return found
