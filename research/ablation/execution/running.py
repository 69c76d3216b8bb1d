"""Running a study: what is missing and nothing else, each group of trials the way that is fastest."""

import contextlib
import dataclasses
import logging
import math
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import get_args

from research.ablation.design.groups import TrialGroup
from research.ablation.design.study import Study, Trial, check
from research.ablation.execution.changes import Retry
from research.ablation.execution.datasets import SharedSplits, in_memory
from research.ablation.execution.group_training import train_together
from research.ablation.execution.modes.choosing import Choice, Execution, choose, halved
from research.ablation.execution.modes.decisions import Decisions
from research.ablation.execution.modes.measuring import exhausted
from research.ablation.execution.options import adapted, check_execution, for_trials
from research.ablation.execution.pretraining import Pretraining
from research.ablation.execution.progress import SweepProgress, sentence, summary
from research.ablation.execution.queue import Job, Queue
from research.ablation.execution.readiness import prepared
from research.ablation.execution.waiting import Waiting, stopped
from research.ablation.store.claims import Claim, Claims
from research.ablation.store.study_folder import Outcome, Phase, Status, Store, check_unscreened, write_status
from research.errors import UsageError
from research.experiment import Experiment, RunOptions
from research.training import Interrupted, Result, train
from research.training.faults.guard import interruptible
from research.training.storage.environment import device

log = logging.getLogger(__name__)


def ablate(
    experiment: Experiment,
    study: Study,
    workdir: str | Path,
    options: RunOptions | None = None,
    execution: Execution = "auto",
    *,
    retry: Sequence[Retry] = (),
    fail_fast: bool = False,
    wait: bool = False,
    workers: int = 1,
) -> Store:
    """Run the trials of a study that are missing, and return its store.

    Several processes with the same folder share the work. What was killed is done again; a trial that fails is recorded
    and the others continue. Where the study tunes nuisance settings, that comes first, and waits for other processes.

    Args:
        experiment: the baseline.
        study: what is varied; cells and seeds may be added to a folder later.
        workdir: the study's folder.
        options: as for `train`, for every trial. `progress` "none" also silences the line a trial. By default a trial
            is on one device and devices share the trials; with a placement of its own each trial is on many.
        execution: how trials of one program are run; "auto" measures, and says what in groups/ID/execution.json.
        retry: also run trials that "failed" or "diverged", once, or that are of code that has "changed" since.
        fail_fast: begin nothing after a failure.
        wait: return only when the trials that other processes are at have ended too.
        workers: how many processes share the work, this one among them: so many find something to do.

    Raises:
        UsageError: the study does not fit, the folder holds another one, trials in it were run in another way or by
            other code, or they are to be run together and each on many devices.
        Interrupted: stopped early; the same call resumes.
    """
    options, execution = for_trials(options or RunOptions(), execution)
    if wrong := set(retry) - set(get_args(Retry)):
        raise UsageError(f'what is tried again has "failed", "diverged" or "changed", not "{wrong.pop()}"')
    check_unscreened(Path(workdir))
    again, accept = "changed" in retry, options.accept_code_change
    store = prepared(workdir, experiment, study, again=again, accept=accept)
    with Claims() as claims, interruptible() as interrupted:
        sweep = Sweep(store, options, execution, tuple(retry), fail_fast, claims, interrupted, workers)
        sweep.run_all(store.tuning_trials, "tuning")
        (sweep.run_all if wait else sweep.run)(store.final_trials(), "final")
        sweep.lines.say(summary(store.outcomes()))
    return store


class Sweep:
    """The moving parts of one call of `ablate`: it takes trials that are due, and trains those of a group together."""

    def __init__(
        self,
        store: Store,
        options: RunOptions,
        execution: Execution,
        retry: tuple[Retry, ...],
        fail_fast: bool,
        claims: Claims,
        interrupted: Callable[[], bool],
        workers: int = 1,
        wanted: Callable[[Outcome], bool] = lambda outcome: True,
    ) -> None:
        """Take the parts together; `wanted` says of a trial that is due whether it is run."""
        self._store, self._execution, self._fail_fast = store, execution, fail_fast
        self._claims, self._interrupted, self._workers = claims, interrupted, workers
        start_dir = options.start_dir or str(store.root / "start")
        self._options = dataclasses.replace(
            options, progress="none", pictures=False, keep_best=False, start_dir=start_dir
        )
        self.lines = SweepProgress(store, silent=options.progress == "none")
        self._waiting = Waiting(store, interrupted)
        self._jobs = Queue(store, claims, retry, wanted, options.accept_code_change)
        self._decisions = Decisions(store.root, claims, self._waiting)
        self._starts = Pretraining(store.root, self._options, claims, self._waiting, again="changed" in retry)
        self._splits = SharedSplits(self._options)
        self._failed, self._stops = False, False

    def stop_trials_at(self, step: int | None) -> None:
        """Take trials to a step and no further, None for the end: one that stops there was not interrupted."""
        self._options, self._stops = dataclasses.replace(self._options, stop_after=step), True

    def pause(self) -> None:
        """Wait a while for other processes. Raises `Interrupted` after a signal."""
        self._waiting.pause()

    def run_all(self, trials: Sequence[Trial], phase: Phase) -> None:
        """Run trials, and wait for those that other processes are at; of a process that dies, take them over."""
        self.run(trials, phase)
        while not self._stopping() and any(self._store.outcome(trial, phase).status == "running" for trial in trials):
            self._waiting.pause()
            self._look_elsewhere()
            self.run(trials, phase)
        self._look_elsewhere()

    def run(self, trials: Sequence[Trial], phase: Phase) -> None:
        """Run the trials that are missing, in their order, with those of the same group that go together.

        Raises:
            UsageError: a model does not fit its data, the baseline's dataset is not there, or some trials of a group
                were run in another way than is asked for; found before anything runs.
            Interrupted: a signal came.
        """
        queue = self._jobs.due(trials, phase)
        if not queue:
            return
        cells = {job.trial.cell.name: job.trial.cell for job in queue}.values()
        check_execution(cells, self._execution)
        check(cells)
        self._splits.of(trials[0].experiment)
        for job in queue:
            self._decisions.check(job.group, self._execution)
        order = {self._store.folder(trial): index for index, trial in enumerate(trials)}
        queue.sort(key=lambda job: order[job.folder])
        self.lines.left = len(queue) + len(self._jobs.elsewhere)
        while queue and not self._stopping():
            first = queue.pop(0)
            if (claim := self._claim(first)) is not None:
                choice = self._choice(first, [first, *(job for job in queue if job.group is first.group)])
                claimed = [(first, claim), *self._further(queue, first.group, choice.size - 1)]
                try:
                    self._run_together(choice, claimed)
                except Interrupted:
                    if not self._stops or self._interrupted():
                        raise
            self._look_elsewhere()

    def _stopping(self) -> bool:
        """Return whether nothing more is to begin. Raises `Interrupted` after a signal."""
        self._waiting.heed()
        return self._failed and self._fail_fast

    def _look_elsewhere(self) -> None:
        """Show what has come of the trials that other processes were at."""
        for job, outcome in self._jobs.back():
            self._waiting.reset()
            if outcome.status == "failed":
                self._failed = True
                self.lines.ended(job, "failed", outcome.error)
            elif outcome.finished:
                self.lines.ended(job, outcome.status, outcome)

    def _claim(self, job: Job) -> Claim | None:
        """Return a claim on a trial, None where it is not for this process; one that cannot be written has failed."""
        try:
            return self._jobs.claim(job)
        except OSError as error:
            self._end(job, None, None, error)
            return None

    def _further(self, queue: list[Job], group: TrialGroup, count: int) -> Iterator[tuple[Job, Claim]]:
        """Claim and yield up to `count` further trials of a group, taking all that were looked at from the queue."""
        for job in [job for job in queue if job.group is group]:
            if not count:
                return
            queue.remove(job)
            if (claim := self._claim(job)) is not None:
                count -= 1
                yield job, claim

    def _choice(self, first: Job, jobs: Sequence[Job]) -> Choice:
        """Return how a group is run; where that is to be measured, for this process's part of the jobs left."""
        own = jobs[: math.ceil(len(jobs) / self._workers)]
        return self._decisions.of(first.group, lambda: self._chosen([job.trial.experiment for job in own]))

    def _chosen(self, experiments: Sequence[Experiment]) -> Choice:
        """Return how to run experiments of one program; what cannot be measured is left to fail by itself."""
        try:
            self._starts.prepare(experiments[0])
            first, *others = [self._splits.of(experiment) for experiment in experiments]
            same = all(splits is first for splits in others)
            shared = same and in_memory(experiments[0], first, self._options)
            return choose(experiments, first, self._options, self._execution, shared)
        except Interrupted:
            raise
        except Exception as error:
            return Choice("loop", 1, f"{type(error).__name__}: {error}".splitlines()[0])

    def _run_together(self, choice: Choice, taken: Iterable[tuple[Job, Claim]]) -> None:
        """Run claimed trials of one group. Raises `Interrupted` after a signal, with what had not ended put back."""
        waiting = list(taken)
        self._waiting.reset()
        while waiting:
            part = waiting[: choice.size]
            try:
                self._train(part, waiting, choice)
            except Interrupted:
                self._put_back(waiting, choice)
                raise stopped(self._store) from None
            except Exception as error:
                smaller = halved(choice) if exhausted(error) else None
                if smaller is not None:
                    choice = smaller
                    self._decisions.change(part[0][0].group, choice)
                    continue
                for job, claim in part:
                    if (job, claim) in waiting:
                        waiting.remove((job, claim))
                        self._end(job, claim, choice, error)

    def _train(self, part: Sequence[tuple[Job, Claim]], waiting: list[tuple[Job, Claim]], choice: Choice) -> None:
        """Train some trials, one or several together; each is taken from those `waiting` when it has ended."""

        def ended(index: int, result: Result | Exception) -> None:
            """Take note of a trial."""
            waiting.remove(part[index])
            self._end(*part[index], choice, result)

        jobs = [job for job, _ in part]
        experiments, folders = [job.trial.experiment for job in jobs], [job.folder for job in jobs]
        for job, experiment in zip(jobs, experiments, strict=True):
            write_status(job.folder, "running", mode=choice.mode, group=job.group.name, device=device())
            self._starts.prepare(experiment)
        splits = self._splits.of(experiments[0])
        options = adapted(self._options, choice)
        if choice.mode == "loop":
            ended(0, train(experiments[0], folders[0], options, splits))
        else:
            mode, size = choice.mode, choice.size
            train_together(experiments, folders, splits, options, mode, size, self._interrupted, ended)

    def _put_back(self, waiting: Iterable[tuple[Job, Claim]], choice: Choice) -> None:
        """Leave trials that were stopped to whoever resumes."""
        for job, claim in waiting:
            with contextlib.suppress(OSError):
                write_status(job.folder, "planned", mode=choice.mode, group=job.group.name)
            self._claims.release(claim)

    def _end(self, job: Job, claim: Claim | None, choice: Choice | None, result: Result | Exception) -> None:
        """Write down and show what came of a trial, unless another process has taken it over meanwhile."""
        if claim is not None and not claim.held():
            log.warning("%s was taken over by another process, which thought this one dead", job.folder)
            return
        known = {"group": job.group.name, "device": device()} | ({"mode": choice.mode} if choice else {})
        if isinstance(result, Exception):
            self._failed = True
            known |= {"error": sentence(result), "traceback": "".join(traceback.format_exception(result))}
        status: Status = (
            "failed" if isinstance(result, Exception) else self._store.recorded(job.trial, job.phase).status
        )
        try:
            write_status(job.folder, status, **known)
        except OSError as error:
            log.warning("%s could not be written: %s", job.folder / "status.json", error.strerror)
        if claim is not None:
            self._claims.release(claim, status)
        self.lines.ended(job, status, sentence(result) if isinstance(result, Exception) else result)
