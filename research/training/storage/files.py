"""Writing small files whole, or not at all."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from research.errors import RunError


def write(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    with partial_file(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what the system raises when a run cannot write `path` into one sentence."""
    try:
        yield
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror or error}; mend that and run it again") from error


@contextlib.contextmanager
def partial_file(path: Path) -> Iterator[Path]:
    """Give a path to write to, renamed to `path` at the end: a kill leaves the old file or the new one, whole."""
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
