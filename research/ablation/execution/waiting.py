"""Working until a signal comes, and waiting for what other processes are at."""

import time
from collections.abc import Callable

from research.ablation.execution.progress import summary
from research.ablation.store.study_folder import Store
from research.training import Interrupted

PAUSES = (0.05, 0.25)  # seconds between two looks at what another process is doing, at first and at most
SHARE = 0.1  # of the time that is spent looking, at most: where trials are many, one look at all of them takes long
LONGEST = 2.0  # seconds of a pause


def stopped(store: Store) -> Interrupted:
    """Return what to raise for a sweep that ends early."""
    return Interrupted(f"stopped, {summary(store.outcomes())} in {store.root}; the same command resumes")


class Waiting:
    """Pauses while other processes work on a study, each longer than the one before until something happens."""

    def __init__(self, store: Store, interrupted: Callable[[], bool]) -> None:
        self._store, self._interrupted = store, interrupted
        self._seconds = PAUSES[0]
        self._since: float | None = None  # when the last pause ended, where nothing but looking followed

    def heed(self) -> None:
        """Raise `Interrupted` after a signal."""
        if self._interrupted():
            raise stopped(self._store)

    def pause(self) -> None:
        """Let another process work. Raises `Interrupted` after a signal."""
        self.heed()
        looking = 0.0 if self._since is None else time.perf_counter() - self._since
        time.sleep(min(max(self._seconds, looking * (1 - SHARE) / SHARE), LONGEST))
        self._seconds, self._since = min(2 * self._seconds, PAUSES[1]), time.perf_counter()

    def reset(self) -> None:
        """Take note that something happened: the next pause is a short one."""
        self._seconds, self._since = PAUSES[0], None
