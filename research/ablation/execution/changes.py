"""Trials that other code computed: found before anything runs, as seeds of different programs make no mean."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from research.ablation.design.study import Trial
from research.ablation.store.study_folder import Store
from research.errors import UsageError
from research.training import identity
from research.training.storage.folder import Folder

Retry = Literal["failed", "diverged", "changed"]
"""What can be run again."""


class Changes:
    """The folders of trials that other code computed, and that are to be run `again`; or it is to `accept` them."""

    def __init__(self, store: Store, again: bool, accept: bool) -> None:
        self._store, self._again, self._accept = store, again, accept
        self._known: set[Path] = set()
        self._changed: set[Path] = set()

    def __contains__(self, folder: Path) -> bool:
        """Return whether a trial is to be run again because of its code."""
        return folder in self._changed

    def look(self, trials: Iterable[Trial]) -> None:
        """Look at trials, each once; what is proven to be of the same code, or accepted, is written down.

        Raises:
            UsageError: other code computed some of them, and nobody said what is to become of them.
        """
        found: list[tuple[str, tuple[str, ...]]] = []
        for trial in trials:
            folder = Folder(self._store.folder(trial))
            if folder.root in self._known or not folder.has_begun():
                continue
            self._known.add(folder.root)
            code, names = identity.differences(trial.experiment, folder)
            if not names:
                identity.record(folder, code)
            elif self._again:
                self._changed.add(folder.root)
            elif self._accept:
                identity.record(folder, identity.accepting(code, names))
            else:
                found.append((trial.cell.name, names))
        if found:
            cells = ", ".join(dict.fromkeys(cell for cell, _ in found))
            modules = ", ".join(sorted({name for _, names in found for name in names}))
            raise UsageError(
                f"{self._store.root}: the code has changed since {len(found)} of its trials ran ({cells}), in "
                f"{modules}. --retry changed runs them again; --accept_code_change keeps them beside what the new code "
                "computes, and the report says so"
            )
