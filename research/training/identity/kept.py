"""Small facts kept from one process to the next beside compiled programs, as finding them out takes a second."""

import contextlib
import json
from typing import Any

from research.devices.cache import kept_in
from research.training.storage.files import write


class Kept:
    """JSON values by key, in a file that `save` writes; nothing is kept where compiled programs are not.

    Another process may write at the same time: what one of them adds is then lost, and found out anew.
    """

    def __init__(self, name: str, most: int) -> None:
        """Keep at most so many, in the file of this name."""
        self._name, self._most = name, most
        self._read: dict[str, Any] | None = None
        self._new: dict[str, Any] = {}

    def get(self, key: str) -> Any:
        """Return what is kept, None for nothing."""
        if self._read is None:
            self._read = self._content()
        return self._new.get(key, self._read.get(key))

    def put(self, key: str, value: Any) -> None:
        """Take a value, which is kept from `save` on."""
        self._new[key] = value

    def save(self) -> None:
        """Write what is new to the file; of too many, those that were added first are forgotten."""
        if self._new and (folder := kept_in()) is not None:
            self._read = dict(list({**self._content(), **self._new}.items())[-self._most :])
            self._new = {}
            with contextlib.suppress(OSError):
                write(folder / f"{self._name}.json", json.dumps(self._read))

    def _content(self) -> dict[str, Any]:
        """Return what the file holds; nothing where it is missing or damaged."""
        try:
            folder = kept_in()
            found = json.loads((folder / f"{self._name}.json").read_text()) if folder is not None else {}
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}
