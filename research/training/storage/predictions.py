"""Predictions as files: CSV, JSON lines and NPZ hold the same numbers, digit for digit."""

import csv
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from research.errors import UsageError, suggestion
from research.training.storage.files import partial_file
from research.training.storage.folder import finite

Predictions = dict[str, np.ndarray]


def write_predictions(path: str | Path, predictions: Predictions) -> None:
    """Write one row an example to FILE.csv, FILE.jsonl or FILE.npz.

    In CSV a column of vectors becomes `name_0`, `name_1` and so on, one of matrices `name_0_0` and so on. Floats are
    written so that they read back exactly; what is missing is nan, in JSON null.

    Raises:
        UsageError: another ending, or a place that cannot be written.
    """
    path = check_output(path)
    with partial_file(path) as partial:
        WRITERS[path.suffix](partial, predictions)


def check_output(path: str | Path) -> Path:
    """Return `path` once it is known that predictions can be written there, making its folder. Raises `UsageError`."""
    path = Path(path)
    if path.suffix not in WRITERS:
        raise UsageError(f'cannot write predictions as "{path.suffix}"{suggestion(path.suffix, WRITERS)}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent):
            return path
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _rows(predictions: Predictions) -> Iterator[list[object]]:
    """Yield the row of every example as Python numbers and lists."""
    yield from zip(*(column.tolist() for column in predictions.values()), strict=True)


def _write_csv(path: Path, predictions: Predictions) -> None:
    """Write a header and a line per example."""
    flat = {
        "_".join([name, *map(str, index)]): column[:, *index]
        for name, column in predictions.items()
        for index in np.ndindex(column.shape[1:])
    }
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(flat)
        writer.writerows(_rows(flat))


def _write_jsonl(path: Path, predictions: Predictions) -> None:
    """Write an object per example."""
    with path.open("w") as file:
        for row in _rows(predictions):
            file.write(json.dumps(finite(dict(zip(predictions, row, strict=True)))) + "\n")


def _write_npz(path: Path, predictions: Predictions) -> None:
    """Write an array per column."""
    with path.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **predictions)


WRITERS: dict[str, Callable[[Path, Predictions], None]] = {
    ".csv": _write_csv,
    ".jsonl": _write_jsonl,
    ".npz": _write_npz,
}
