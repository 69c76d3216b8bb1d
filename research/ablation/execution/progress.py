"""What is shown while a study runs: a line a trial, and in the end how many there are of each status."""

import math
from collections import Counter
from collections.abc import Sequence

from research.ablation.execution.queue import Job
from research.ablation.store.study_folder import Outcome, Status, Store
from research.errors import RunError, UsageError
from research.training import Result
from research.training.display.progress import progress


class SweepProgress:
    """The lines of a sweep; of one that is `silent` there are none. `left` is how many trials are yet to end."""

    def __init__(self, store: Store, silent: bool) -> None:
        self._store = store
        self._progress = progress("none" if silent else "lines", 0, 0, 0)
        self.left = 0

    def say(self, text: str) -> None:
        """Show one line."""
        self._progress.say(text)

    def ended(self, job: Job, status: Status, found: Result | Outcome | str) -> None:
        """Show that a trial has ended, and how: with a result, or with an error in words."""
        text = found if isinstance(found, str) else self._shown(job, found)
        how = "" if status == "done" else f"{status}, "
        self.left -= 1
        self.say(f"{job.trial.cell.name}, seed {job.trial.seed}: {how}{text}, {self.left} left")

    def _shown(self, job: Job, found: Result | Outcome) -> str:
        """Return what a trial came to in words."""
        metric, split = self._store.goal.metric, "validation" if job.phase == "tuning" else self._store.study.split
        return f"{metric} {found.metrics[split].get(metric, math.nan):.4f}, {found.seconds['total']:.1f} s"


def summary(outcomes: Sequence[Outcome]) -> str:
    """Return how many trials there are of each status: ``24 trials: 22 done, 2 failed``."""
    counts = Counter(outcome.status for outcome in outcomes)
    return f"{len(outcomes)} trials: {', '.join(f'{count} {status}' for status, count in counts.items())}"


def sentence(error: Exception) -> str:
    """Return an error as one line; those that are not ours with their kind, without which they say little."""
    text = (str(error).splitlines() or [""])[0]
    return text if isinstance(error, UsageError | RunError) else f"{type(error).__name__}: {text}"
