"""Running a study: what is missing and nothing else, each group of trials the way that is fastest."""

import contextlib
import dataclasses
import logging
import math
import shutil
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from research.ablation.choosing import Choice, Execution, choose, halved, read_choice, write_choice
from research.ablation.claims import Claim, Claims
from research.ablation.group_training import train_together
from research.ablation.groups import Group, groups
from research.ablation.measuring import exhausted
from research.ablation.splits import SharedSplits
from research.ablation.store import Outcome, Phase, Status, Store, check_unscreened, write_status
from research.ablation.study import Study, Trial, check
from research.data import Batches
from research.errors import RunError, UsageError
from research.experiment import Experiment, Placement, RunOptions, Start
from research.training import Interrupted, Result, train
from research.training.environment import device
from research.training.folder import Folder
from research.training.guard import interruptible
from research.training.progress import progress
from research.training.run import Splits
from research.training.start import start_folder

log = logging.getLogger(__name__)

PAUSES = (0.05, 0.25)  # seconds between two looks at what another process is doing, at first and at most
SAVED_SECONDS = 30.0  # between checkpoints of a trial: what is lost when it is killed, where saving it costs more


def ablate(
    experiment: Experiment,
    study: Study,
    workdir: str | Path,
    options: RunOptions | None = None,
    execution: Execution = "auto",
    *,
    retry: Sequence[Status] = (),
    fail_fast: bool = False,
    wait: bool = False,
    workers: int = 1,
) -> Store:
    """Run the trials of a study that are missing, and return its store.

    Several processes with the same folder share the work. What was killed is done again; a trial that fails is recorded
    and the others go on. Where the study tunes nuisance settings, that comes first, and waits for other processes.

    Args:
        experiment: the baseline.
        study: what is varied; cells and seeds may be added to a folder later.
        workdir: the study's folder.
        options: as for `train`, for every trial. `progress` "none" also silences the line a trial. By default a trial
            is on one device and devices share the trials; with a placement of its own each trial is on many.
        execution: how trials of one program are run; "auto" measures, and says what in groups/ID/execution.json.
        retry: also run trials that "failed" or "diverged", once.
        fail_fast: begin nothing after a failure.
        wait: return only when the trials that other processes are at have ended too.
        workers: how many processes share the work, this one among them: so many find something to do.

    Raises:
        UsageError: the study does not fit, the folder holds another one, trials in it were run in another way, or they
            are to be run together and each on many devices.
        Interrupted: stopped early; the same call goes on.
    """
    options, execution = for_trials(options or RunOptions(), execution)
    if wrong := set(retry) - {"failed", "diverged"}:
        raise UsageError(f'what is tried again has "failed" or "diverged", not "{wrong.pop()}"')
    check_unscreened(Path(workdir))
    store = Store.open(workdir, experiment, study)
    with Claims() as claims, interruptible() as interrupted:
        sweep = Sweep(store, options, execution, tuple(retry), fail_fast, claims, interrupted, workers)
        sweep.run_all(store.tuning_trials, "tuning")
        (sweep.run_all if wait else sweep.run)(store.final_trials(), "final")
        sweep.say(summary(store.outcomes()))
    return store


def summary(outcomes: Sequence[Outcome]) -> str:
    """Return how many trials there are of each status: ``24 trials: 22 done, 2 failed``."""
    counts = Counter(outcome.status for outcome in outcomes)
    return f"{len(outcomes)} trials: {', '.join(f'{count} {status}' for status, count in counts.items())}"


def stopped(store: Store) -> Interrupted:
    """Return what to raise for a sweep that ends early."""
    return Interrupted(f"stopped, {summary(store.outcomes())} in {store.root}; the same command goes on")


def for_trials(options: RunOptions, execution: Execution) -> tuple[RunOptions, Execution]:
    """Return options and execution of trials: each on one device, or one after the other in a placement of their own.

    One that diverges goes on, however it is run, and so is told from one that fails.

    Raises:
        UsageError: both are asked for, or a trace, which is of a single run.
    """
    if options.profile is not None:
        raise UsageError("--profile is for a single run: train one of the cells")
    options = dataclasses.replace(options, stop_diverged=False)
    if options.placement == Placement():
        return dataclasses.replace(options, placement=Placement(data=1)), execution
    if execution not in ("auto", "loop"):
        raise UsageError(f'trials that run together, as "{execution}" does, are on one device each: choose loop')
    return options, "loop"


def adapted(options: RunOptions, choice: Choice) -> RunOptions:
    """Return the options of trials that run in a certain way, checkpoints not less than `SAVED_SECONDS` apart."""
    between = options.checkpoint_every * choice.step_seconds
    checkpoint_every = options.checkpoint_every * max(1, math.floor(SAVED_SECONDS / between))
    return dataclasses.replace(
        options, steps_per_call=choice.steps_per_call, checkpoint_every=min(checkpoint_every, 2**31 - 1)
    )


@dataclasses.dataclass(frozen=True, eq=False)
class Job:
    """A trial that is to be run, unless another process has done it by then; `attempt` is the last one before."""

    trial: Trial
    phase: Phase
    group: Group
    folder: Path
    attempt: int


class Sweep:
    """The moving parts of one call of `ablate`."""

    def __init__(
        self,
        store: Store,
        options: RunOptions,
        execution: Execution,
        retry: tuple[Status, ...],
        fail_fast: bool,
        claims: Claims,
        interrupted: Callable[[], bool],
        workers: int = 1,
    ) -> None:
        self._store, self._execution, self._retry, self._fail_fast = store, execution, retry, fail_fast
        self._workers = workers
        self._progress = progress("none" if options.progress == "none" else "lines", 0, 0, 0)
        start_dir = options.start_dir or str(store.root / "start")
        self._options = dataclasses.replace(
            options, progress="none", pictures=False, keep_best=False, start_dir=start_dir
        )
        self._claims, self._interrupted = claims, interrupted
        self._splits = SharedSplits(self._options)
        self._choices: dict[str, Choice] = {}
        self._failed = False
        self._left = 0
        self._elsewhere: dict[Path, Job] = {}
        self._pauses = PAUSES[0]

    def say(self, text: str) -> None:
        """Show one line."""
        self._progress.say(text)

    def run_all(self, trials: Sequence[Trial], phase: Phase) -> None:
        """Run trials, and wait for those that other processes are at; of a process that dies, take them over."""
        self.run(trials, phase)
        while not self._stopping() and any(self._store.outcome(trial, phase).status == "running" for trial in trials):
            self._pause()
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
        queue = []
        for group in groups(trials):
            for trial in group.trials:
                outcome = self._store.outcome(trial, phase)
                job = Job(trial, phase, group, self._store.folder(trial), outcome.attempt)
                if self._is_due(job, outcome):
                    queue.append(job)
        if not queue:
            return
        check({job.trial.cell.name: job.trial.cell for job in queue}.values())
        self._splits.of(trials[0].experiment)
        for job in queue:
            self._check_execution(job.group)
        order = {self._store.folder(trial): index for index, trial in enumerate(trials)}
        queue.sort(key=lambda job: order[job.folder])
        self._left = len(queue) + len(self._elsewhere)
        while queue and not self._stopping():
            first = queue.pop(0)
            if (claim := self._claim(first)) is not None:
                choice = self._choice(first, [first, *(job for job in queue if job.group is first.group)])
                self._run_together(choice, [(first, claim), *self._further(queue, first.group, choice.size - 1)])
            self._look_elsewhere()

    def _stopping(self) -> bool:
        """Return whether nothing more is to begin. Raises `Interrupted` after a signal."""
        if self._interrupted():
            raise stopped(self._store)
        return self._failed and self._fail_fast

    def _pause(self) -> None:
        """Let another process work. Raises `Interrupted` after a signal."""
        if self._interrupted():
            raise stopped(self._store)
        time.sleep(self._pauses)
        self._pauses = min(2 * self._pauses, PAUSES[1])

    def _look_elsewhere(self) -> None:
        """Show what has come of the trials that other processes were at; those they left are due again."""
        for folder, job in list(self._elsewhere.items()):
            outcome = self._store.outcome(job.trial, job.phase)
            if outcome.status == "running":
                continue
            del self._elsewhere[folder]
            self._pauses = PAUSES[0]
            if outcome.status == "failed":
                self._failed = True
                self._count(job, "failed", outcome.error)
            elif outcome.finished:
                self._count(job, outcome.status, self._shown(job, outcome))

    def _is_due(self, job: Job, outcome: Outcome) -> bool:
        """Return whether a trial is to be run; what is tried again is so only once."""
        again = outcome.status in self._retry and outcome.attempt == job.attempt
        return outcome.status == "planned" or again

    def _claim(self, job: Job) -> Claim | None:
        """Return a claim on a trial, None where it is no longer due or another process has it."""
        outcome = self._store.outcome(job.trial, job.phase)
        try:
            claim = self._claims.acquire(job.folder, after=outcome.attempt) if self._is_due(job, outcome) else None
        except OSError as error:
            self._end(job, None, None, error)
            return None
        if claim is None:
            self._elsewhere[job.folder] = job
            return None
        recorded = self._store.recorded(job.trial, job.phase)  # what came of the attempt that has just ended
        again = recorded.status in self._retry and claim.number == job.attempt + 1
        if recorded.status in ("planned", "running") or again:
            if recorded.status == "diverged":
                forget(Folder(job.folder))
            return claim
        self._claims.release(claim, "too late")
        self._elsewhere[job.folder] = job
        return None

    def _further(self, queue: list[Job], group: Group, count: int) -> Iterator[tuple[Job, Claim]]:
        """Claim and yield up to `count` further trials of a group, taking all that were looked at from the queue."""
        for job in [job for job in queue if job.group is group]:
            if not count:
                return
            queue.remove(job)
            if (claim := self._claim(job)) is not None:
                count -= 1
                yield job, claim

    def _choice_file(self, group: Group) -> Path:
        """Return where it is written how a group is run."""
        return self._store.root / "groups" / group.name / "execution.json"

    def _check_execution(self, group: Group) -> None:
        """Raise `UsageError` where a group has begun in another way than is asked for."""
        file = self._choice_file(group)
        if self._execution != "auto" and file.exists() and (mode := read_choice(file).mode) != self._execution:
            raise UsageError(
                f'trials of {", ".join(group.cells)} in {self._store.root} were run as "{mode}", and to run others as '
                f'"{self._execution}" would compare unlike things: choose auto, or another folder'
            )

    def _choice(self, first: Job, jobs: Sequence[Job]) -> Choice:
        """Return how a group is run: as it was before, by this process or another, else as measured now."""
        group, file = first.group, self._choice_file(first.group)
        while group.name not in self._choices:
            if file.exists():
                self._choices[group.name] = read_choice(file)
            elif (claim := self._claims.acquire(file.parent)) is not None:
                if not file.exists():
                    own = jobs[: math.ceil(len(jobs) / self._workers)]
                    write_choice(file, self._chosen([job.trial.experiment for job in own]), group)
                self._claims.release(claim, "decided")
            else:
                self._pause()  # another process is measuring
        return self._choices[group.name]

    def _chosen(self, experiments: Sequence[Experiment]) -> Choice:
        """Return how to run experiments of one program; what cannot be measured is left to fail by itself."""
        try:
            self._begin_with(experiments[0])
            first, *others = [self._splits.of(experiment) for experiment in experiments]
            same = all(splits is first for splits in others)
            shared = same and in_memory(experiments[0], first, self._options)
            return choose(experiments, first, self._options, self._execution, shared)
        except Interrupted:
            raise
        except Exception as error:
            return Choice("loop", 1, f"{type(error).__name__}: {error}".splitlines()[0])

    def _begin_with(self, experiment: Experiment) -> None:
        """Train what an experiment begins with, once for all trials; wait where another process does."""
        if not isinstance(experiment.start, Start):
            return
        root = start_folder(experiment.start, self._store.root, self._options)
        while Folder(root).read_result() is None:
            claim = self._claims.acquire(root)
            if claim is None:
                self._pause()
            else:
                try:
                    train(experiment.start.experiment, root, dataclasses.replace(self._options, stop_after=None))
                finally:
                    self._claims.release(claim)

    def _run_together(self, choice: Choice, taken: Iterable[tuple[Job, Claim]]) -> None:
        """Run claimed trials of one group. Raises `Interrupted` after a signal, with what had not ended put back."""
        waiting = list(taken)
        self._pauses = PAUSES[0]
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
                    group, choice = part[0][0].group, smaller
                    self._choices[group.name] = choice
                    write_choice(self._choice_file(group), choice, group)
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
            self._begin_with(experiment)
        splits = self._splits.of(experiments[0])
        options = adapted(self._options, choice)
        if choice.mode == "loop":
            ended(0, train(experiments[0], folders[0], options, splits))
        else:
            mode, size = choice.mode, choice.size
            train_together(experiments, folders, splits, options, mode, size, self._interrupted, ended)

    def _put_back(self, waiting: Iterable[tuple[Job, Claim]], choice: Choice) -> None:
        """Leave trials that were stopped to whoever goes on."""
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
        self._count(job, status, sentence(result) if isinstance(result, Exception) else self._shown(job, result))

    def _count(self, job: Job, status: Status, text: str) -> None:
        """Show that a trial has ended, and how."""
        self._left -= 1
        how = "" if status == "done" else f"{status}, "
        self.say(f"{job.trial.cell.name}, seed {job.trial.seed}: {how}{text}, {self._left} left")

    def _shown(self, job: Job, found: Result | Outcome) -> str:
        """Return what a trial came to in words."""
        metric, split = self._store.goal.metric, "validation" if job.phase == "tuning" else self._store.study.split
        return f"{metric} {found.metrics[split].get(metric, math.nan):.4f}, {found.seconds['total']:.1f} s"


def forget(folder: Folder) -> None:
    """Remove what a run came to, so that it begins again."""
    for file in (folder.result, folder.metrics):
        file.unlink(missing_ok=True)
    shutil.rmtree(folder.checkpoints, ignore_errors=True)


def in_memory(experiment: Experiment, splits: Splits, options: RunOptions) -> bool:
    """Return whether training examples are kept in memory, where many runs can read them at once."""
    return Batches(splits["train"], experiment.batch_size, 0, options.residency).residency != "stream"


def sentence(error: Exception) -> str:
    """Return an error as one line; those that are not ours with their kind, without which they say little."""
    text = (str(error).splitlines() or [""])[0]
    return text if isinstance(error, UsageError | RunError) else f"{type(error).__name__}: {text}"
