"""Which trials are to be run, and who is at them: this process by a claim, or another one."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from research.ablation.design.groups import TrialGroup, groups
from research.ablation.design.study import Trial
from research.ablation.execution.changes import Changes, Retry
from research.ablation.store.claims import Claim, Claims
from research.ablation.store.study_folder import Outcome, Phase, Store
from research.training.storage.folder import Folder, forget


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """A trial that is to be run, unless another process has done it by then; `attempt` is the last one before."""

    trial: Trial
    phase: Phase
    group: TrialGroup
    folder: Path
    attempt: int


class Queue:
    """The trials of a study that this process may claim, and in `elsewhere` those that it left to others, by folder.

    Those whose status is in `retry` are tried again, once, and with "changed" those that other code computed; of all
    these, only what is `wanted` is run.
    """

    def __init__(
        self,
        store: Store,
        claims: Claims,
        retry: tuple[Retry, ...],
        wanted: Callable[[Outcome], bool],
        accept: bool = False,
    ) -> None:
        """Take the parts together; `accept` says whether trials of other code may stay."""
        self._store, self._claims, self._retry, self._wanted = store, claims, retry, wanted
        self._changes = Changes(store, again="changed" in retry, accept=accept)
        self.elsewhere: dict[Path, Job] = {}

    def due(self, trials: Sequence[Trial], phase: Phase) -> list[Job]:
        """Return the trials that are to be run, group by group. Raises `UsageError` as `Changes.look` does."""
        self._changes.look(trials)
        found = []
        for group in groups(trials):
            for trial in group.trials:
                outcome = self._store.outcome(trial, phase)
                job = Job(trial, phase, group, self._store.folder(trial), outcome.attempt)
                if self.is_due(job, outcome):
                    found.append(job)
        return found

    def is_due(self, job: Job, outcome: Outcome) -> bool:
        """Return whether a trial is to be run; what is tried again is so only once."""
        again = self._is_tried_again(job, outcome) and outcome.attempt == job.attempt
        return (outcome.status == "planned" or again) and self._wanted(outcome)

    def claim(self, job: Job) -> Claim | None:
        """Return a claim on a trial, None where it is no longer due or another process has it.

        Raises:
            OSError: its folder cannot be written.
        """
        outcome = self._store.outcome(job.trial, job.phase)
        claim = self._claims.acquire(job.folder, after=outcome.attempt) if self.is_due(job, outcome) else None
        if claim is None or not self._begin(job, claim):
            self.elsewhere[job.folder] = job
            return None
        return claim

    def _begin(self, job: Job, claim: Claim) -> bool:
        """Return whether a trial is still to be run, now that it is claimed; else give it back."""
        recorded = self._store.recorded(job.trial, job.phase)  # what came of the attempt that has just ended
        first = claim.number == job.attempt + 1
        again = self._is_tried_again(job, recorded) and first
        if recorded.status not in ("planned", "running") and not again:
            self._claims.release(claim, "too late")
            return False
        if recorded.status == "diverged" or (first and job.folder in self._changes):
            forget(Folder(job.folder))
        elif recorded.status == "failed":  # a result that is there all the same is damaged, and would be read again
            Folder(job.folder).result.unlink(missing_ok=True)
        return True

    def _is_tried_again(self, job: Job, outcome: Outcome) -> bool:
        """Return whether a trial that has come to something is to be run all the same."""
        return outcome.status in self._retry or job.folder in self._changes

    def back(self) -> Iterator[tuple[Job, Outcome]]:
        """Yield trials that other processes are no longer at, and what came of each; what they left is due again."""
        for folder, job in list(self.elsewhere.items()):
            outcome = self._store.outcome(job.trial, job.phase)
            if outcome.status != "running":
                del self.elsewhere[folder]
                yield job, outcome
