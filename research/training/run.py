"""A run in progress: its state, journal, checkpoints and clock, from the first step to the result."""

import json
import math
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from research.data import Batches, Records, Split, gather
from research.devices import ONE_DEVICE, Layout, first_replica, leads, place, replicated, whole
from research.errors import UsageError
from research.experiment import Experiment, RunOptions, fingerprint, split
from research.training.clock import Clock, goodput
from research.training.display.curves import draw_curves
from research.training.display.illustration import illustrate
from research.training.display.progress import Progress, progress, shown
from research.training.evaluation import evaluation_sums
from research.training.faults import chaos
from research.training.faults.guard import Interrupted
from research.training.faults.nonfinite import (
    Diverged,
    NotFinite,
    Sentry,
    diverged,
    examine,
    first_fault,
    first_not_finite,
    passed,
)
from research.training.initialization.start import first_state
from research.training.stepping import Call, Stepping, placed_step, together
from research.training.storage import lineage
from research.training.storage.checkpoint import Checkpoints, Kind
from research.training.storage.environment import commit, device, versions
from research.training.storage.folder import Folder, Result, writing
from research.training.storage.journal import Journal, is_best
from research.training.storage.liveness import host
from research.training.update.state import TrainState, abstract_state, count_parameters
from research.training.update.step import Metrics

Splits = dict[Split, Records]


class Run(Stepping):
    """The moving parts of one call of `train`: its state, journal and what it shows."""

    faults: chaos.Faults | None = None

    def __init__(
        self,
        experiment: Experiment,
        options: RunOptions,
        folder: Folder,
        clock: Clock,
        records: Splits,
        checkpoints: Checkpoints,
        layout: Layout = ONE_DEVICE,
    ) -> None:
        self.experiment, self.options, self.folder, self.clock = experiment, options, folder, clock
        self.records, self.checkpoints, self.total = records, checkpoints, experiment.steps
        self.layout = layout
        self.lineage = lineage.Lineage(folder.lineage, writes=leads())
        self._before = self.lineage.events()
        self.program, hyperparameters = split(experiment)
        self.hyperparameters = layout.numbers(hyperparameters)
        state = self._restore()
        self._stand_at(state)
        self.journal = Journal(folder.metrics, self.step, writes=leads())
        way = options.progress if leads() else "none"
        self.progress: Progress = progress(way, experiment.steps, self.step, experiment.batch_size)
        self.sentry = Sentry(experiment, len(records["train"]), self.progress.say)
        self.sentry.begin(state)
        self.progress.say(
            f"{fingerprint(experiment)} seed {experiment.seed} on {device(layout.devices)}{layout}, "
            f"{count_parameters(state):,} parameters, {len(records['train']):,} training examples, {folder.root}"
        )
        if idle := jax.device_count() - layout.devices:
            self.progress.say(f"{idle} other devices are not used: they do not divide the batch, or placement says so")
        if self.step:
            self.progress.say(f"resumed at step {self.step}")
        self.lineage.add(
            "resumed" if self.step else "began",
            step=self.step,
            pid=os.getpid(),
            host=host(),
            commit=commit(),
            device=device(layout.devices),
            share=clock.share,
        )

    def _stand_at(self, state: TrainState) -> None:
        """Go on from a state as it is restored."""
        self.state: Any = replicated(state, self.layout) if self.layout.method == "pmap" else state
        self.step = int(state.step)

    def _restore(self, again: bool = False) -> TrainState:
        """Return the latest saved state, or a new one; `again` in the middle of a run, whose clock goes on."""
        layout, known = self.layout.jitted(), len(self.checkpoints.left_out)
        with self.clock.phase("checkpoint"):
            restored = self.checkpoints.restore("latest", abstract_state(self.experiment), layout)
        for kind, damaged, reason in self.checkpoints.left_out[known:]:
            self.lineage.add("damaged", kind=kind, step=damaged, reason=reason)
        self._carry(restored, again)
        if restored is None:
            with self.clock.phase("compile"):
                return jax.block_until_ready(first_state(self.experiment, self.folder.root, self.options, layout))
        state, _ = restored
        if not again:
            self.checkpoints.forget_best_after(int(state.step))
        return state

    def _carry(self, restored: tuple[TrainState, dict[str, float]] | None, again: bool) -> None:
        """Let the clock know what was spent up to a state, and what of the time since or of other processes is lost."""
        spent = restored[1] if restored else {}
        if again:
            self.clock.repeat(spent)
            return
        if restored:
            spent = lineage.carried(self._before, int(restored[0].step), spent)
        self.clock.carry(spent)
        self.clock.lose(lineage.total_process_seconds(self._before) - spent.get("total", 0.0))

    def train(self, interrupted: Callable[[], bool]) -> None:
        """Take the steps that are left."""
        experiment, layout = self.experiment, self.layout
        rows, put = layout.rows(experiment.batch_size), layout.everywhere()
        batches = Batches(
            self.records["train"], experiment.batch_size, experiment.seed, self.options.residency, rows, put
        )

        def feeds_at(step: int, count: int) -> Any:
            """Return the input of `count` steps from `step` on."""
            return layout.feed(batches.feeds_at(step, count), count > 1)

        def struck_feeds_at(step: int, count: int) -> Any:
            """Return the input of `count` steps from `step` on; what is to go wrong in them begins here."""
            self.checkpoints.look()
            if self.faults is not None:
                self.state = self.faults.before(step, count, self.state)
            return feeds_at(step, count)

        try:
            while self.step < self.total:
                try:
                    self.take_steps(struck_feeds_at, interrupted)
                except NotFinite as found:
                    self.checkpoints.wait()
                    self._stand_at(self._restore(again=True))
                    if not found.again:
                        raise self._located(found, feeds_at, interrupted) from None
                    self._begin_again(found)
        finally:
            batches.close()

    def wait(self, call: Call) -> None:
        """Wait until the device has done a call. Raises `NotFinite` where the run cannot go on from there."""
        if not self.options.stop_diverged:
            return super().wait(call)
        # Reading what is ready takes a microsecond or two, less than waiting for each of the metrics.
        faults = np.asarray(call.metrics["fault"])
        self.sentry.look(call.step, faults[0].reshape(-1) if self.layout.method == "pmap" else faults.reshape(-1))

    def _begin_again(self, found: NotFinite) -> None:
        """Forget what came after the last checkpoint, whose state is restored."""
        self.checkpoints.forget_best_after(self.step)
        self.journal = Journal(self.folder.metrics, self.step, writes=leads())
        self.sentry.begin(self.current)
        self.progress.say(f"{found}: once more from step {self.step}")
        self.lineage.add("rewound", step=found.step, to=self.step, reason=str(found))

    def _located(
        self, found: NotFinite, feeds_at: Callable[[int, int], Any], interrupted: Callable[[], bool]
    ) -> Diverged:
        """Repeat the steps from the last checkpoint, and return what to raise, with what was the first not finite."""
        saved = self.step or None
        self.progress.say(f"{found}: repeating from step {self.step} to find where it begins")
        while self.step < found.step:
            if interrupted():
                return diverged(found.what, self.sentry.rows(found.step), found.step, self.experiment, saved)
            count = together(self.step, self.total, self.options)
            if found.leaf is None and self.step + count >= found.step:
                count = 1
                if fault := first_fault(*self._examined(feeds_at)):
                    return diverged(*fault, self.step + 1, self.experiment, saved)
            self.state, _ = self.take(count)(self.hyperparameters, self.state, feeds_at(self.step, count))
            self.step += count
            if found.leaf and (leaf := first_not_finite(self.current)):
                return diverged(leaf, self.sentry.rows(self.step), self.step, self.experiment, saved)
        return passed(found.step, self.total, saved)

    def _examined(self, feeds_at: Callable[[int, int], Any]) -> tuple[dict[str, Any], list[int]]:
        """Return what is finite at the next update, and the rows of its batch."""
        layout, feed = self.layout.jitted(), feeds_at(self.step, 1)
        if self.layout.method == "pmap":
            feed = jax.device_get(gather(feed))
        findings = place(examine, self.program, layout)(self.hyperparameters, self.current, feed)
        return jax.device_get(findings), self.sentry.rows(self.step + 1)

    def take(self, count: int) -> Callable[..., Any]:
        """Return the compiled program that takes `count` steps in one call."""
        return placed_step(self.program, self.layout, count)

    def report(self, step: int, metrics: Metrics, seconds: float) -> None:
        """Write metrics into the journal and show the few that matter."""
        with self.clock.phase("step"):
            host = jax.device_get(first_replica(metrics) if self.layout.method == "pmap" else metrics)
            host.pop("fault")
            headline = self._headline(self.experiment.task.summarize(host.pop("sums")))
            self.journal.write(step, "train", {**headline, **{name: float(value) for name, value in host.items()}})
            self.progress.report(step, headline, seconds)
            self.folder.heartbeat()

    def evaluate_between(self) -> None:
        """Evaluate on validation and keep the best state."""
        self._evaluate("validation")
        self._keep_best()

    def save_latest(self) -> None:
        """Start to save the state."""
        self._save("latest")

    def stopped(self) -> Interrupted:
        """Wait until all is saved and return what to raise."""
        with self.clock.phase("checkpoint"):
            self.checkpoints.wait()
        self.lineage.add("interrupted", step=self.step, seconds=self._say_goodput(), life=self.clock.life())
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
        if strange := [metric for metric, value in metrics.items() if not math.isfinite(value)]:
            self.progress.say(f"{name} at step {self.step}: {', '.join(strange)} not finite, so never best; going on")
        return metrics, task.details(sums)

    def _sums(self, name: Split) -> Any:
        """Return the task's sums over a split."""
        return evaluation_sums(self.experiment, self.current, self.records[name], self.layout.jitted())

    def _keep_best(self) -> None:
        """Save the state as the best one if its validation is better than all before."""
        if not self.options.keep_best:
            return
        task = self.experiment.task
        values = [line[task.monitor] for line in self.journal.lines if line["split"] == "validation"]
        if is_best([value if math.isfinite(value) else math.nan for value in values], task.maximize):
            self._save("best")

    def _save(self, kind: Kind) -> None:
        """Start to save the state."""
        self.folder.heartbeat()
        with self.clock.phase("checkpoint"):
            state = self.current
            if self.options.stop_diverged:
                self.sentry.check(state)
            if self.faults is None:
                self.checkpoints.save(kind, state, self.clock.seconds())
                return
            with self.faults.saving(self.checkpoints.wait):
                self.checkpoints.save(kind, state, self.clock.seconds())

    def _say_goodput(self) -> dict[str, float]:
        """Say which share of the time of all processes of this run were steps that count; return where it went."""
        seconds = self.clock.seconds()
        self.progress.say(goodput(seconds, lineage.starts(self._before) + 1))
        return seconds

    def failed(self, error: BaseException) -> None:
        """Write down that the run ended before its time, unless it was interrupted, which is written down already."""
        if not isinstance(error, Interrupted):
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            self.lineage.add("failed", step=self.step, reason=reason, life=self.clock.life())

    def finish(self) -> Result:
        """Evaluate the final state, draw the curves and write the result."""
        final: tuple[Split, ...] = ("validation", "test")
        evaluated = {name: self._evaluate(name) for name in final}
        self._keep_best()
        with self.clock.phase("checkpoint"):
            self.checkpoints.wait()
        with writing(self.folder.root):
            illustrations = self._pictures() if self.options.pictures else {}
        seconds = self._say_goodput()
        result = Result(
            experiment=json.loads(self.folder.experiment.read_text()),
            fingerprint=fingerprint(self.experiment),
            seed=self.experiment.seed,
            steps=self.step,
            metrics={name: metrics for name, (metrics, _) in evaluated.items()},
            details={name: details for name, (_, details) in evaluated.items()},
            seconds=seconds,
            parameters=count_parameters(abstract_state(self.experiment)),
            device=device(self.layout.devices),
            versions=versions(),
            commit=commit(),
            illustrations=illustrations,
        )
        if leads():
            self.folder.write_result(result)
        self.lineage.add("finished", step=self.step, seconds=seconds, life=self.clock.life())
        return result

    def _pictures(self) -> dict[str, str]:
        """Draw learning curves and what data and task draw; return {file name: what it shows}."""
        state = self.current
        if jax.process_count() > 1:  # what only the first one computes must not involve the others' devices
            state = whole(state)
        if not leads():
            return {}
        draw_curves(self.journal.lines, self.experiment.task.headline, self.folder.curves)
        drawn = illustrate(self.experiment, state, self.records, self.options, self.folder.root)
        try:
            self.folder.check_names(drawn)
        except ValueError as error:  # a task or data of the user's; the message says which name
            raise UsageError(f"{error}; mend `illustrate` of the task or the data, or turn pictures off") from error
        return drawn
