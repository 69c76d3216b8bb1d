"""Numbers in a user's own CSV, JSON Lines and NPZ files, with errors that say where in the file."""

import functools
import hashlib
import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any, Literal, get_args

import numpy as np

from research.data.dataset import Dataset
from research.data.splits import Split
from research.data.storage import csv_files, json_lines, npz_files, packaged
from research.errors import UsageError, suggestion

Version = tuple[int, int]
"""When a file was last written, and its bytes."""


_TEXT = {".csv": csv_files, ".jsonl": json_lines}
"""What reads files of rows and columns of text, by how their names end."""
_READERS = {**_TEXT, ".npz": npz_files}

NAMED = 20
"""Columns that an error names."""


def is_file(name: str) -> bool:
    """Return whether the name of a dataset is the path of a CSV, JSON Lines or NPZ file."""
    return _suffix(name) in _READERS


def has_words(path: str) -> bool:
    """Return whether a file has rows and columns of text."""
    return _suffix(path) in _TEXT


def has_columns(name: str) -> bool:
    """Return whether what is read has names for its columns: a file of text, or a packaged table."""
    return has_words(name) or packaged.is_packaged(name)


def check_unset(dataset: Dataset, kind: Literal["file", "folder"] = "file") -> None:
    """Raise `UsageError` where split expressions are given for a file or folder, which has none to choose from."""
    for name in get_args(Split):
        if getattr(dataset, name) is not None:
            raise UsageError(f'data.{name} chooses from the splits of a TFDS dataset; "{dataset.name}" is a {kind}')


def names(path: str) -> tuple[str, ...]:
    """Return the columns of a file, or the arrays of an NPZ file.

    Raises:
        UsageError: the file cannot be read.
    """
    return tuple(_contents(path))


def check_names(path: str, names: Iterable[str], remedy: str) -> None:
    """Raise `UsageError`, which ends with what to do, unless a file has columns or arrays of these names."""
    contents = _contents(path)
    for name in names:
        try:
            _named(contents, path, name)
        except UsageError as error:
            raise UsageError(f"{error}; {remedy}") from None


def numbers(path: str, name: str) -> np.ndarray:
    """Return what `exact` does as float32.

    Raises:
        UsageError: as `exact`, and where float32 would make one number of several.
    """
    values = exact(path, name)
    if values.dtype == np.float64:
        low, high = np.nanmin(values), np.nanmax(values)
        raise UsageError(
            f'{path}: "{name}" goes from {low:.12g} to {high:.12g}, and float32, which has seven digits, cannot tell '
            "numbers so close to each other apart: subtract one of them from all"
        )
    return values


def exact(path: str, name: str) -> np.ndarray:
    """Return a column [n] of a file or an array of an NPZ file, NaN where a value is missing.

    It is float32, or float64 where float32 would make one number of several. An empty cell, null or "NaN" is a missing
    value.
    The file is read once and its numbers are shared: they are not to be written to.

    Raises:
        UsageError: the file cannot be read, has no such column, or holds something else than finite numbers there.
    """
    return columns(path, (name,))[0]


def columns(path: str, names: Iterable[str]) -> list[np.ndarray]:
    """Return what `exact` does of several columns or arrays, for which the file is looked at once. Raises as that."""
    contents, found = _contents(path), []
    for name in names:
        values = _named(contents, path, name)
        if isinstance(values, str):
            raise UsageError(values)
        found.append(values)
    return found


def words(path: str, name: str) -> tuple[str, ...]:
    """Return the cells of a column [n] of a file of text, "" where one is empty.

    Raises:
        UsageError: the file cannot be read, is no such file, or has no such column.
    """
    _named(_contents(path), path, name)
    if not has_words(path):
        raise UsageError(f"{path}: words are read from {' and '.join(_TEXT)} files alone")
    return _words(path, name, version(path))


def are_numbers(path: str, name: str) -> bool:
    """Return whether a column or array holds nothing but finite numbers and gaps.

    Raises:
        UsageError: the file cannot be read, or has nothing of that name.
    """
    return not isinstance(_named(_contents(path), path, name), str)


def is_text(path: str, name: str) -> bool:
    """Return whether no cell of a column of a file of text is a number. Raises `UsageError` as `words`."""
    return has_words(path) and not are_numbers(path, name) and not any(map(is_number, words(path, name)))


def texts(path: str, names: Iterable[str]) -> list[str]:
    """Return of which columns `is_text` is true, the first of them where they are many. Raises as `words`."""
    contents = _contents(path)
    suspects = [name for name in names if isinstance(_named(contents, path, name), str)]
    return [name for name in suspects[:NAMED] if is_text(path, name)]


def is_number(cell: str) -> bool:
    """Return whether a cell holds a finite number."""
    return bool(cell.strip()) and csv_files.number(cell) is not None


def place(path: str, row: int) -> str:
    """Return in words where a row, counted from 0 and below a header, is in its file."""
    return _reader(path).place(path, row)


def describe(path: str) -> dict[str, str]:
    """Return `dataset.json`: name, size and digest of a file.

    Raises:
        UsageError: the file cannot be read.
    """
    if packaged.is_packaged(path):
        return {"dataset.json": json.dumps({"dataset": path, **packaged.read()[1]}, indent=2) + "\n"}
    return {"dataset.json": _described(path, version(path))}


def digest(path: str) -> str:
    """Return the digest of a file, as `sha256sum` prints it. Raises `UsageError` where it cannot be read."""
    return str(json.loads(_described(path, version(path)))["sha256"])


def version(path: str) -> Version:
    """Return what changes when a file does. Raises `UsageError` where it is not there."""
    if packaged.is_packaged(path):
        return 0, 0
    try:
        status = pathlib.Path(path).expanduser().stat()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    return status.st_mtime_ns, status.st_size


def _named(contents: Mapping[str, np.ndarray | str], path: str, name: str) -> np.ndarray | str:
    """Return a column or array, or why it holds no numbers. Raises `UsageError` where there is none of that name."""
    if name not in contents:
        raise UsageError(
            f'{path} has no {"column" if has_columns(path) else "array"} "{name}"{suggestion(name, contents)}'
        )
    return contents[name]


def _contents(path: str) -> Mapping[str, np.ndarray | str]:
    """Return numbers, or why there are none, of each column or array by name; read again when the file has changed."""
    if packaged.is_packaged(path):
        return packaged.read()[0]
    return _read(path, version(path))


def _suffix(path: str) -> str:
    """Return how a name ends."""
    return pathlib.Path(path).suffix.lower()


def _reader(path: str) -> Any:
    """Return the module that reads a file; of one that none reads, what reads any array."""
    return _READERS.get(_suffix(path), npz_files)


@functools.lru_cache(maxsize=2)
def _words(path: str, name: str, version: Version) -> tuple[str, ...]:
    """Return the cells of a column."""
    return _TEXT[_suffix(path)].words(path, name)


# Two, because each is as large as its file; a run opens the same one for every split.
@functools.lru_cache(maxsize=2)
def _read(path: str, version: Version) -> dict[str, np.ndarray | str]:
    """Return columns or arrays by name, which refuse to be written to."""
    contents: dict[str, np.ndarray | str] = _reader(path).read(path)
    for values in contents.values():
        if isinstance(values, np.ndarray):
            values.flags.writeable = False
    return contents


@functools.lru_cache(maxsize=8)
def _described(path: str, version: Version) -> str:
    """Return what `describe` says of a file."""
    try:
        with pathlib.Path(path).expanduser().open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
            size = content.tell()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    described = {"file": pathlib.Path(path).name, "bytes": size, "sha256": digest}
    return json.dumps(described, indent=2) + "\n"
