"""Optuna's log of a search, each of whose lines is compared with what was written."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from research.errors import RunError
from research.training.storage import sealed


class SealedLog:
    """What Optuna appends to a file and reads of it; `inner` is its own backend for that file.

    Several processes append, so that each line has a digest. Lines that an older release wrote are taken as they are.
    """

    def __init__(self, inner: Any, path: Path) -> None:
        self._inner, self._path = inner, path
        self._known = sealed.lines(path)
        if not self._known:
            self._known = sealed.seal_lines(path, map(_text, self.read_logs(0, compared=False)))

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Append lines."""
        self._known |= sealed.seal_lines(self._path, map(_text, logs))
        self._inner.append_logs(logs)

    def read_logs(self, log_number_from: int, compared: bool = True) -> Iterator[dict[str, Any]]:
        """Yield the lines from one on. Raises `RunError` where one is damaged."""
        try:
            for log in self._inner.read_logs(log_number_from):
                if compared and sealed.digest(_text(log)) not in self._known:
                    self._known = sealed.lines(self._path)  # another process has appended since
                    if sealed.digest(_text(log)) not in self._known:
                        raise sealed.DamagedFile(sealed.SENTENCE)
                yield log
        except ValueError as error:  # a line that is no JSON too
            raise RunError(f"{self._path} is damaged: {error}; restore it or choose another folder") from error


def _text(log: dict[str, Any]) -> str:
    """Return a line, however it is spelt in the file."""
    return json.dumps(log, sort_keys=True)
