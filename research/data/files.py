"""Numbers in a user's own CSV and NPZ files, with errors that say where in the file."""

import csv
import functools
import hashlib
import io
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from research.data.dataset import Dataset
from research.data.splits import Split
from research.errors import UsageError, suggestion
from research.fields import LARGEST


def is_file(name: str) -> bool:
    """Return whether the name of a dataset is the path of a CSV or NPZ file."""
    return name.lower().endswith((".csv", ".npz"))


def is_csv(path: str) -> bool:
    """Return whether a file has rows and columns of text."""
    return path.lower().endswith(".csv")


def check_unset(dataset: Dataset, kind: Literal["file", "folder"] = "file") -> None:
    """Raise `UsageError` where split expressions are given for a file or folder, which has none to choose from."""
    for name in get_args(Split):
        if getattr(dataset, name) is not None:
            raise UsageError(f'data.{name} chooses from the splits of a TFDS dataset; "{dataset.name}" is a {kind}')


def names(path: str) -> tuple[str, ...]:
    """Return the columns of a CSV file, or the arrays of an NPZ file.

    Raises:
        UsageError: the file cannot be read.
    """
    return tuple(_contents(path))


def numbers(path: str, name: str) -> np.ndarray:
    """Return a column [n] of a CSV file or an array of an NPZ file, as float32 with NaN where a value is missing.

    An empty cell or "NaN" is a missing value.

    Raises:
        UsageError: the file cannot be read, has no such column, or holds something else than finite numbers there.
    """
    contents = _contents(path)
    kind = "column" if is_csv(path) else "array"
    if name not in contents:
        raise UsageError(f'{path} has no {kind} "{name}"{suggestion(name, contents)}')
    values = contents[name]
    if not isinstance(values, np.ndarray):
        return np.array([_number(path, name, row, cell) for row, cell in enumerate(values)], np.float32)
    if values.dtype.kind not in "biuf":
        raise UsageError(f'{path}: the array "{name}" is of type {values.dtype}; it must hold numbers')
    if not (np.isnan(values) | (np.abs(values.astype(np.float64)) <= LARGEST)).all():
        raise UsageError(f'{path}: the array "{name}" has infinite numbers; a missing one is NaN')
    return values.astype(np.float32)


def place(path: str, row: int) -> str:
    """Return in words where a row, counted from 0 below the header, is in its file."""
    return f"{path}, line {row + 2}" if is_csv(path) else f"{path}, row {row}"


def describe(path: str) -> dict[str, str]:
    """Return `dataset.json`: name, size and digest of a file.

    Raises:
        UsageError: the file cannot be read.
    """
    content = _read(path)
    described = {
        "file": pathlib.Path(path).name,
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    return {"dataset.json": json.dumps(described, indent=2) + "\n"}


def _contents(path: str) -> dict[str, Sequence[str]] | dict[str, np.ndarray]:
    """Return the cells of each column, or the arrays, by name; read again when the file has changed."""
    try:
        status = pathlib.Path(path).expanduser().stat()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    return (_columns if is_csv(path) else _arrays)(path, (status.st_mtime_ns, status.st_size))


# Two, because each is as large as its file; a run opens the same one for every split.
@functools.lru_cache(maxsize=2)
def _columns(path: str, version: tuple[int, int]) -> dict[str, Sequence[str]]:
    """Return the cells of each column of a CSV file by its name in the first line."""
    content = _read(path)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}, line {line}: this is not UTF-8 text; save the file as UTF-8") from error
    try:
        # An empty line of a file of one column is an empty cell.
        reader = csv.reader(io.StringIO(text.rstrip("\r\n"), newline=""), strict=True)
        header, *rows = [row or [""] for row in reader]
    except ValueError as error:
        raise UsageError(f"{path} is empty; its first line must name the columns") from error
    except csv.Error as error:
        raise UsageError(f"{path}, line {reader.line_num}: this is not comma-separated text: {error}") from error
    header = [name.strip() for name in header]
    if len(header) == 1 and (other := next((mark for mark in (";", "\t") if mark in header[0]), None)):
        raise UsageError(f"{path}, line 1: {other!r} separates the columns; save the file with commas")
    for name in header:
        if not name or header.count(name) > 1:
            raise UsageError(f'{path}, line 1: the column name "{name}" must be there, and once only')
    for index, row in enumerate(rows):
        if len(row) != len(header):
            raise UsageError(f"{place(path, index)}: {len(row)} cells where the header has {len(header)}")
    if not rows:
        raise UsageError(f"{path} has a header and no rows")
    return dict(zip(header, zip(*rows, strict=True), strict=True))


@functools.lru_cache(maxsize=2)
def _arrays(path: str, version: tuple[int, int]) -> dict[str, np.ndarray]:
    """Return the arrays of an NPZ file by name."""
    try:
        with np.load(io.BytesIO(_read(path)), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except MemoryError as error:
        raise UsageError(f"{path} says that it holds more than there is memory for") from error
    except (AttributeError, TypeError) as error:  # one array, which has neither names nor an end
        raise UsageError(f"{path} holds one array without a name; write it with numpy.savez") from error
    except Exception as error:  # whatever zipfile, tokenize and NumPy raise on garbage
        raise UsageError(f"{path} is not a whole NPZ file of plain numbers; write it with numpy.savez") from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):  # a file in it that does not begin as one of NumPy's
            raise UsageError(f'{path}: "{name}" in it is no array; write it with numpy.savez')
    return arrays


def _read(path: str) -> bytes:
    """Return the bytes of a file."""
    try:
        return pathlib.Path(path).expanduser().read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error


def _number(path: str, column: str, row: int, cell: str) -> float:
    """Return what a cell holds, NaN where it is empty."""
    try:
        number = float(cell.strip() or "nan")
    except ValueError:
        number = math.inf
    if not (math.isnan(number) or abs(number) <= LARGEST):
        raise UsageError(
            f'{place(path, row)}, column "{column}": "{cell}" is not a finite number; leave the cell empty where a '
            "value is missing"
        )
    return number
