"""One run, from an experiment to its result."""

import contextlib
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import jax

from research.data import Batches, Records, Split
from research.devices import ONE_DEVICE, Layout, first_replica, lay_out, leads, replicated, whole
from research.devices.cache import Compilations
from research.devices.profile import Profile, window
from research.experiment import Experiment, RunOptions, Start, fingerprint, split
from research.training.checking import check
from research.training.checkpoint import Checkpoints, Kind
from research.training.clock import Clock
from research.training.curves import draw_curves
from research.training.environment import commit, device, environment, versions
from research.training.evaluation import evaluation_sums, open_split
from research.training.folder import Folder, Result
from research.training.guard import Interrupted, interruptible
from research.training.illustration import illustrate
from research.training.journal import Journal, is_best
from research.training.progress import Progress, progress, shown
from research.training.start import check_tokens, first_state, start_folder
from research.training.state import TrainState, abstract_state, count_parameters
from research.training.step import Metrics
from research.training.stepping import Stepping, placed_step
from research.training.watch import Watch

Splits = dict[Split, Records]


def train(
    experiment: Experiment, workdir: str | Path, options: RunOptions | None = None, splits: Splits | None = None
) -> Result:
    """Train, evaluate and write a run folder; a run that was interrupted goes on exactly where it stopped.

    A folder that holds the finished run returns its result at once. `splits` are those of the experiment's data where
    they are already open, so that the runs of a sweep decode them once.

    Raises:
        UsageError: the parts of the experiment do not fit, the dataset is not there, or `workdir` cannot be written or
            holds another experiment; found before anything is computed or written.
        Interrupted: SIGINT, SIGTERM or `options.stop_after` ended the run early; it is saved.
        RunError: the folder is damaged, another process runs in it, or saving failed.
    """
    options = options or RunOptions()
    steps = None if options.profile is None else window(options.profile, experiment.steps)
    folder, clock = Folder(workdir), Clock()
    folder.check(experiment)
    if (finished := folder.read_result()) is not None:
        return finished
    check(experiment, begun=folder.checkpoints.exists())
    layout = lay_out(experiment, options.placement)
    records = splits or open_splits(experiment, options)
    if isinstance(experiment.start, Start):
        check_tokens(experiment, options)
        before = dataclasses.replace(options, stop_after=None, profile=None)
        train(experiment.start.experiment, start_folder(experiment.start, folder.root, options), before)
    with (
        folder.claimed() if leads() else contextlib.nullcontext(),
        interruptible() as interrupted,
        contextlib.closing(Compilations()) as compilations,
    ):
        if leads():
            folder.create(experiment, environment(), experiment.data.files(options.data_dir))
        with Checkpoints(folder.checkpoints, options.keep) as checkpoints:
            run = Run(experiment, options, folder, clock, records, checkpoints, layout)
            profile = Profile(steps, folder.profile) if steps is not None and leads() else None
            run.watch = Watch(run.progress.say, compilations, profile)
            if steps is not None and run.step >= steps.stop:
                run.progress.say("nothing is traced: the steps of --profile were taken before")
            try:
                run.train(interrupted)
                return run.finish()
            finally:
                run.progress.close()
                run.watch.close()


def open_splits(experiment: Experiment, options: RunOptions) -> Splits:
    """Return every split of the experiment's dataset."""
    return {name: open_split(experiment, name, options) for name in get_args(Split)}


class Run(Stepping):
    """The moving parts of one call of `train`: its state, journal and what it shows."""

    def __init__(
        self,
        experiment: Experiment,
        options: RunOptions,
        folder: Folder,
        clock: Clock,
        records: Splits,
        checkpoints: Checkpoints,
        layout: Layout = ONE_DEVICE,
        state: TrainState | None = None,
    ) -> None:
        self.experiment, self.options, self.folder, self.clock = experiment, options, folder, clock
        self.records, self.checkpoints, self.total = records, checkpoints, experiment.steps
        self.layout = layout
        self.program, hyperparameters = split(experiment)
        self.hyperparameters = layout.numbers(hyperparameters)
        state = self._restore() if state is None else state
        self.state: Any = replicated(state, layout) if layout.method == "pmap" else state
        self.step = int(state.step)
        self.journal = Journal(folder.metrics, self.step, writes=leads())
        way = options.progress if leads() else "none"
        self.progress: Progress = progress(way, experiment.steps, self.step, experiment.batch_size)
        self.progress.say(
            f"{fingerprint(experiment)} seed {experiment.seed} on {device(layout.devices)}{layout}, "
            f"{count_parameters(state):,} parameters, {len(records['train']):,} training examples, {folder.root}"
        )
        if idle := jax.device_count() - layout.devices:
            self.progress.say(f"{idle} other devices are not used: they do not divide the batch, or placement says so")
        if self.step:
            self.progress.say(f"resumed at step {self.step}")

    def _restore(self) -> TrainState:
        """Return the latest saved state, or a new one."""
        layout = self.layout.jitted()
        with self.clock.phase("checkpoint"):
            restored = self.checkpoints.restore("latest", abstract_state(self.experiment), layout)
        if restored is None:
            with self.clock.phase("compile"):
                return jax.block_until_ready(first_state(self.experiment, self.folder.root, self.options, layout))
        state, spent = restored
        self.checkpoints.forget_best_after(int(state.step))
        self.clock.carry(spent)
        return state

    def train(self, interrupted: Callable[[], bool]) -> None:
        """Take the steps that are left."""
        experiment, layout = self.experiment, self.layout
        rows, put = layout.rows(experiment.batch_size), layout.everywhere()
        batches = Batches(
            self.records["train"], experiment.batch_size, experiment.seed, self.options.residency, rows, put
        )
        try:
            self.take_steps(lambda step, count: layout.feed(batches.feeds_at(step, count), count > 1), interrupted)
        finally:
            batches.close()

    def take(self, count: int) -> Callable[..., Any]:
        """Return the compiled program that takes `count` steps in one call."""
        return placed_step(self.program, self.layout, count)

    def report(self, step: int, metrics: Metrics, seconds: float) -> None:
        """Write metrics into the journal and show the few that matter."""
        with self.clock.phase("step"):
            host = jax.device_get(first_replica(metrics) if self.layout.method == "pmap" else metrics)
            headline = self._headline(self.experiment.task.summarize(host.pop("sums")))
            self.journal.write(step, "train", {**headline, **{name: float(value) for name, value in host.items()}})
            self.progress.report(step, headline, seconds)

    def evaluate_between(self) -> None:
        """Evaluate on validation and keep the best state."""
        self._evaluate("validation")
        self._keep_best()

    def save_latest(self) -> None:
        """Start to save the state."""
        self._save("latest")

    def stopped(self) -> Interrupted:
        """Wait until all is saved and return what to raise."""
        self.checkpoints.wait()
        return Interrupted(
            f"stopped at step {self.step} of {self.total}, saved in {self.folder.root}; "
            "the same command goes on from there"
        )

    @property
    def current(self) -> TrainState:
        """The state as evaluation and checkpoints take it: of replicas, the first one's."""
        return jax.device_put(first_replica(self.state)) if self.layout.method == "pmap" else self.state

    def _headline(self, metrics: dict[str, float]) -> dict[str, float]:
        """Return the few metrics that are shown while training."""
        return {name: metrics[name] for name in self.experiment.task.headline}

    def _evaluate(self, name: Split) -> tuple[dict[str, float], dict[str, Any]]:
        """Evaluate a split exactly, into the journal and onto the screen; return metrics and details."""
        task = self.experiment.task
        with self.clock.phase("evaluate"):
            sums = self._sums(name)
        metrics = task.summarize(sums)
        self.journal.write(self.step, name, metrics)
        last = self.step == self.experiment.steps
        self.progress.say(f"{name} at step {self.step}: {shown(metrics if last else self._headline(metrics))}")
        return metrics, task.details(sums)

    def _sums(self, name: Split) -> Any:
        """Return the task's sums over a split."""
        return evaluation_sums(self.experiment, self.current, self.records[name], self.layout.jitted())

    def _keep_best(self) -> None:
        """Save the state as the best one if its validation is better than all before."""
        if not self.options.keep_best:
            return
        task = self.experiment.task
        history = [line[task.monitor] for line in self.journal.lines if line["split"] == "validation"]
        if is_best(history, task.maximize):
            self._save("best")

    def _save(self, kind: Kind) -> None:
        """Start to save the state."""
        with self.clock.phase("checkpoint"):
            self.checkpoints.save(kind, self.current, self.clock.seconds())

    def finish(self) -> Result:
        """Evaluate the final state, draw the curves and write the result."""
        final: tuple[Split, ...] = ("validation", "test")
        evaluated = {name: self._evaluate(name) for name in final}
        self._keep_best()
        with self.clock.phase("checkpoint"):
            self.checkpoints.wait()
        illustrations = self._pictures() if self.options.pictures else {}
        result = Result(
            experiment=json.loads(self.folder.experiment.read_text()),
            fingerprint=fingerprint(self.experiment),
            seed=self.experiment.seed,
            steps=self.step,
            metrics={name: metrics for name, (metrics, _) in evaluated.items()},
            details={name: details for name, (_, details) in evaluated.items()},
            seconds=self.clock.seconds(),
            parameters=count_parameters(abstract_state(self.experiment)),
            device=device(self.layout.devices),
            versions=versions(),
            commit=commit(),
            illustrations=illustrations,
        )
        if leads():
            self.folder.write_result(result)
        return result

    def _pictures(self) -> dict[str, str]:
        """Draw learning curves and what data and task draw; return {file name: what it shows}."""
        state = self.current
        if jax.process_count() > 1:  # what only the first one computes must not involve the others' devices
            state = whole(state)
        if not leads():
            return {}
        draw_curves(self.journal.lines, self.experiment.task.headline, self.folder.curves)
        return illustrate(self.experiment, state, self.records, self.options, self.folder.root)
