"""One run, from an experiment to its result."""

import json
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import jax

from research.data import Batches, Records, Split
from research.devices import place
from research.experiment import Experiment, RunOptions, fingerprint, spec, split
from research.training.checkpoint import Checkpoints, Kind
from research.training.clock import Clock
from research.training.curves import draw_curves
from research.training.environment import commit, device, environment, versions
from research.training.evaluation import evaluation_sums, open_split
from research.training.folder import Folder, Result
from research.training.guard import Interrupted, interruptible
from research.training.journal import Journal, is_best
from research.training.progress import Progress, progress, shown
from research.training.state import TrainState, abstract_state, count_parameters
from research.training.step import Metrics, init_state, train_step

Report = tuple[int, Metrics, float]  # step, metrics still on the device, seconds of training

IN_FLIGHT = 2  # steps dispatched ahead of the device: enough to keep it busy, few enough to stop promptly


def train(experiment: Experiment, workdir: str | Path, options: RunOptions | None = None) -> Result:
    """Train, evaluate and write a run folder; a run that was interrupted goes on exactly where it stopped.

    A folder that holds the finished run returns its result at once.

    Raises:
        UsageError: the parts of the experiment do not fit, the dataset is not there, or `workdir` cannot be written or
            holds another experiment; found before anything is computed or written.
        Interrupted: SIGINT, SIGTERM or `options.stop_after` ended the run early; it is saved.
        RunError: the folder is damaged, another process runs in it, or saving failed.
    """
    options = options or RunOptions()
    folder, clock = Folder(workdir), Clock()
    folder.check(experiment)
    if (finished := folder.read_result()) is not None:
        return finished
    check(experiment)
    records = {name: open_split(experiment, name, options) for name in get_args(Split)}
    with folder.claimed(), interruptible() as interrupted:
        folder.create(experiment, environment())
        with Checkpoints(folder.checkpoints, options.keep) as checkpoints:
            run = Run(experiment, options, folder, clock, records, checkpoints)
            try:
                run.train(interrupted)
                return run.finish()
            finally:
                run.progress.close()


def check(experiment: Experiment) -> None:
    """Raise `UsageError` unless model, task and data fit together; traces the model and computes nothing."""
    state = abstract_state(experiment)

    def forward(params: Any, variables: Any, batch: Any) -> Any:
        """Return the outputs of evaluation mode."""
        return experiment.task.forward(experiment.model, params, variables, experiment.data.preprocess(batch))[0]

    shapes = spec(experiment)
    outputs = jax.eval_shape(forward, state.params, state.variables, shapes)
    experiment.task.check(shapes, outputs, experiment.data.classes())


class Run:
    """The moving parts of one call of `train`: its state, journal and what it shows."""

    def __init__(
        self,
        experiment: Experiment,
        options: RunOptions,
        folder: Folder,
        clock: Clock,
        records: dict[Split, Records],
        checkpoints: Checkpoints,
    ) -> None:
        self.experiment, self.options, self.folder, self.clock = experiment, options, folder, clock
        self.records, self.checkpoints = records, checkpoints
        self.program, hyperparameters = split(experiment)
        self.hyperparameters = jax.device_put(hyperparameters)
        self.state = self._restore()
        self.step = int(self.state.step)
        self.journal = Journal(folder.metrics, self.step)
        self.progress: Progress = progress(options.progress, experiment.steps, self.step, experiment.batch_size)
        self.progress.say(
            f"{fingerprint(experiment)} seed {experiment.seed} on {device()}, {count_parameters(self.state):,} "
            f"parameters, {len(records['train']):,} training examples, {folder.root}"
        )
        if self.step:
            self.progress.say(f"resumed at step {self.step}")

    def _restore(self) -> TrainState:
        """Return the latest saved state, or a new one."""
        with self.clock.phase("checkpoint"):
            restored = self.checkpoints.restore("latest", abstract_state(self.experiment))
        if restored is None:
            with self.clock.phase("compile"):
                return jax.block_until_ready(place(init_state, self.program)(self.hyperparameters))
        state, spent = restored
        self.checkpoints.forget_best_after(int(state.step))
        self.clock.carry(spent)
        return state

    def train(self, interrupted: Callable[[], bool]) -> None:
        """Take the steps that are left, reporting, evaluating and saving on the way."""
        experiment, options, clock = self.experiment, self.options, self.clock
        take_step = place(train_step, self.program, donate_state=True)
        batches = Batches(self.records["train"], experiment.batch_size, experiment.seed, options.residency)
        in_flight: deque[Metrics] = deque()
        unread: Report | None = None  # read one report late, so that the device never waits for the host
        first = self.step
        try:
            while self.step < experiment.steps:
                with clock.phase("input"):
                    feed = batches.feed_at(self.step)
                with clock.phase("compile" if self.step == first else "step"):
                    self.state, metrics = take_step(self.hyperparameters, self.state, feed)
                    in_flight.append(metrics)
                    if len(in_flight) > IN_FLIGHT or self.step == first:
                        jax.block_until_ready(in_flight.popleft())
                    self.step += 1
                    self.progress.advance(self.step)
                last = self.step == experiment.steps
                stop = interrupted() or self.step == options.stop_after
                if self.step % options.log_every == 0 or last:
                    unread = self._report(unread, (self.step, metrics, clock.training()))
                evaluation_due = options.evaluate_every and self.step % options.evaluate_every == 0 and not last
                checkpoint_due = self.step % options.checkpoint_every == 0 or last or stop
                if evaluation_due or checkpoint_due:
                    unread = self._report(unread)
                    with clock.phase("step"):
                        jax.block_until_ready(self.state)
                if evaluation_due:
                    self._evaluate("validation")
                    self._keep_best()
                if checkpoint_due:
                    self._save("latest")
                if stop and not last:
                    self.checkpoints.wait()
                    raise Interrupted(
                        f"stopped at step {self.step} of {experiment.steps}, saved in {self.folder.root}; "
                        "the same command goes on from there"
                    )
        finally:
            batches.close()

    def _report(self, unread: Report | None, new: Report | None = None) -> Report | None:
        """Write the last report to the journal and return the new one, to be read at the next report."""
        if unread is None:
            return new
        step, metrics, seconds = unread
        with self.clock.phase("step"):
            host = jax.device_get(metrics)
            headline = self._headline(self.experiment.task.summarize(host.pop("sums")))
            self.journal.write(step, "train", {**headline, **{name: float(value) for name, value in host.items()}})
            self.progress.report(step, headline, seconds)
        return new

    def _headline(self, metrics: dict[str, float]) -> dict[str, float]:
        """Return the few metrics that are shown while training."""
        return {name: metrics[name] for name in self.experiment.task.headline}

    def _evaluate(self, name: Split) -> tuple[dict[str, float], dict[str, Any]]:
        """Evaluate a split exactly, into the journal and onto the screen; return metrics and details."""
        task = self.experiment.task
        with self.clock.phase("evaluate"):
            sums = evaluation_sums(self.experiment, self.state, self.records[name])
        metrics = task.summarize(sums)
        self.journal.write(self.step, name, metrics)
        last = self.step == self.experiment.steps
        self.progress.say(f"{name} at step {self.step}: {shown(metrics if last else self._headline(metrics))}")
        return metrics, task.details(sums)

    def _keep_best(self) -> None:
        """Save the state as the best one if its validation is better than all before."""
        task = self.experiment.task
        history = [line[task.monitor] for line in self.journal.lines if line["split"] == "validation"]
        if is_best(history, task.maximize):
            self._save("best")

    def _save(self, kind: Kind) -> None:
        """Start to save the state."""
        with self.clock.phase("checkpoint"):
            self.checkpoints.save(kind, self.state, self.clock.seconds())

    def finish(self) -> Result:
        """Evaluate the final state, draw the curves and write the result."""
        final: tuple[Split, ...] = ("validation", "test")
        evaluated = {name: self._evaluate(name) for name in final}
        self._keep_best()
        with self.clock.phase("checkpoint"):
            self.checkpoints.wait()
        draw_curves(self.journal.lines, self.experiment.task.headline, self.folder.curves)
        result = Result(
            experiment=json.loads(self.folder.experiment.read_text()),
            fingerprint=fingerprint(self.experiment),
            seed=self.experiment.seed,
            steps=self.step,
            metrics={name: metrics for name, (metrics, _) in evaluated.items()},
            details={name: details for name, (_, details) in evaluated.items()},
            seconds=self.clock.seconds(),
            parameters=count_parameters(self.state),
            device=device(),
            versions=versions(),
            commit=commit(),
        )
        self.folder.write_result(result)
        return result
