"""What Orbax says when it fails, in one sentence."""

import contextlib
import functools
import logging
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax

from research.errors import RunError


@contextlib.contextmanager
def failures(folder: Path) -> Iterator[None]:
    """Turn what Orbax raises when it cannot write into one sentence."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise RunError(f"saving to {folder} failed: {cause(error)}") from error


@functools.cache
def silence_orbax() -> None:
    """Leave out tracebacks of a save that fails, in whichever thread: it is reported here in a sentence."""
    for name in ("absl", "asyncio"):
        logging.getLogger(name).addFilter(
            lambda record: "orbax" not in record.pathname and "orbax" not in record.getMessage()
        )
    report = sys.unraisablehook

    def reported(found: Any) -> None:
        # Orbax closes its event loop at the first write that fails; TensorStore's other writes then end.
        if str(found.exc_value) != "Event loop is closed":
            report(found)

    sys.unraisablehook = reported


def named(error: Exception, state: Any) -> str:
    """Return the first leaf of `state` that what TensorStore says is about; where it is about none, all of it."""
    for path, _ in jax.tree_util.tree_leaves_with_path(state):
        if f'"{jax.tree_util.keystr(path, simple=True, separator=".")}/' in str(error):
            return jax.tree_util.keystr(path)
    return "its description of the state"


def cause(error: Exception) -> str:
    """Return in a few words why a file could not be read or written."""
    text = getattr(error, "strerror", None) or (str(error) or type(error).__name__).splitlines()[0]
    # TensorStore says which driver opened which, then the cause, then all of its settings.
    return re.sub(r" \[(tensorstore_spec|os_error_code)=.*", "", text).rpartition('": ')[2][:200]
