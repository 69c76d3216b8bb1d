"""One run in progress on its devices, from the state it starts at to its result."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from research.data import Batches, Records, Split, TrainingOrder, gather
from research.devices import ONE_DEVICE, Layout, compile_for, first_replica, is_main_process, replicated, whole
from research.experiment import Experiment, RunOptions, split
from research.training.clock import Clock
from research.training.display.pictures import draw
from research.training.evaluation import evaluation_sums
from research.training.faults import chaos
from research.training.faults.guard import Interrupted
from research.training.faults.hunt import locate
from research.training.faults.nonfinite import NotFinite, examine
from research.training.initialization.start import first_state
from research.training.recorder import Recorder
from research.training.stepping import Call, Stepping, compiled_train_step, steps_per_call
from research.training.storage.checkpoints.checkpoint import Checkpoints, Kind, Restored
from research.training.storage.folder import Folder, Result
from research.training.update.references import NONE, References
from research.training.update.shapes import Shapes
from research.training.update.state import TrainState
from research.training.update.step import Metrics

Splits = dict[Split, Records]


class Run(Stepping):
    """The moving parts of one call of `train`."""

    faults: chaos.Faults | None = None

    def __init__(
        self,
        experiment: Experiment,
        options: RunOptions,
        folder: Folder,
        clock: Clock,
        records: Splits,
        checkpoints: Checkpoints,
        shapes: Shapes,
        layout: Layout = ONE_DEVICE,
        references: References = NONE,
    ) -> None:
        self.experiment, self.options, self.clock = experiment, options, clock
        self.records, self.checkpoints, self.total = records, checkpoints, experiment.steps
        self.shapes, self.layout, self.references = shapes, layout, references
        self.program, hyperparameters = split(experiment)
        self.hyperparameters = layout.numbers(hyperparameters)
        order = TrainingOrder(experiment.data, records["train"], experiment.batch_size, experiment.seed)
        self.recorder = Recorder(experiment, options, folder, clock, checkpoints, order, layout)
        restored = self._restore()
        self.recorder.carry(restored)
        self._stand_at(restored)
        if restored is not None:
            checkpoints.forget_best_after(self.step)
        self.recorder.begin(self.current, self._mark)
        self.progress = self.recorder.progress
        if idle := jax.device_count() - layout.devices:
            self.progress.say(f"{idle} other devices are not used: they do not divide the batch, or placement says so")

    def _stand_at(self, restored: Restored | None) -> None:
        """Continue from what was saved, or from the first state."""
        state = self._first() if restored is None else restored.state
        self._mark = None if restored is None else restored.journal
        self.state: Any = replicated(state, self.layout) if self.layout.method == "pmap" else state
        self.step = int(state.step)

    def _restore(self) -> Restored | None:
        """Return the latest saved state and what was saved beside it; None where nothing is saved."""
        known = len(self.checkpoints.left_out)
        with self.clock.phase("checkpoint"):
            restored = self.checkpoints.restore("latest", self.shapes.state, self.layout.jitted())
        for kind, damaged, reason in self.checkpoints.left_out[known:]:
            self.recorder.lineage.add("damaged", kind=kind, step=damaged, reason=reason)
        return restored

    def _first(self) -> TrainState:
        """Return the state before the first step."""
        root, layout = self.recorder.folder.root, self.layout.jitted()
        with self.clock.phase("compile"):
            return jax.block_until_ready(first_state(self.experiment, root, self.options, layout))

    def _return(self) -> None:
        """Go back to the latest saved state, or the first one; what was spent since is lost."""
        restored = self._restore()
        self.clock.repeat({} if restored is None else restored.seconds)
        self._stand_at(restored)

    def train(self, interrupted: Callable[[], bool]) -> None:
        """Take the steps that are left."""
        experiment, layout = self.experiment, self.layout
        rows, put = layout.rows(experiment.batch_size), layout.everywhere()
        batches = Batches(
            self.records["train"],
            experiment.batch_size,
            experiment.seed,
            self.options.residency,
            rows,
            put,
            experiment.data,
        )

        take = functools.cache(functools.partial(compiled_train_step, self.program, layout))

        def batches_at(step: int, count: int) -> Any:
            """Return the input of `count` steps from `step` on."""
            return layout.feed(batches.batches_at(step, count), count > 1)

        def batches_with_faults_at(step: int, count: int) -> Any:
            """Return the input of `count` steps from `step` on, and inject the faults that are scheduled for them."""
            self.checkpoints.look()
            if self.faults is not None:
                self.state = self.faults.before(step, count, self.state)
            return batches_at(step, count)

        try:
            while self.step < self.total:
                try:
                    self.take_steps(take, batches_with_faults_at, interrupted)
                except NotFinite as found:
                    self.checkpoints.wait()
                    self._return()
                    if not found.again:
                        self.progress.say(f"{found}: repeating from step {self.step} to find where it begins")
                        again = Again(self, batches_at, take)
                        raise locate(again, found, experiment, self.recorder.sentry, interrupted) from None
                    self.recorder.rewind(self.current, self._mark, found.step, str(found))
        finally:
            batches.close()

    def wait(self, call: Call) -> None:
        """Wait until the device has done a call. Raises `NotFinite` where the run cannot continue from there."""
        if not self.options.stop_diverged:
            jax.block_until_ready(call.fault)
            return
        # Reading what is ready takes a microsecond or two, less than waiting for each of the metrics.
        faults = np.asarray(call.fault)
        self.recorder.sentry.look(
            call.step, faults[0].reshape(-1) if self.layout.method == "pmap" else faults.reshape(-1)
        )

    def report(self, step: int, metrics: Metrics, seconds: float) -> None:
        """Write metrics into the journal and show the few that matter."""
        with self.clock.phase("step"):
            host = jax.device_get(first_replica(metrics) if self.layout.method == "pmap" else metrics)
        self.recorder.report(step, host, seconds)

    def evaluate_between(self) -> None:
        """Evaluate on validation and keep the best state."""
        self._evaluate("validation")
        self._keep_best()

    def save_latest(self) -> None:
        """Start to save the state."""
        self._save("latest")

    def stopped(self) -> Interrupted:
        """Wait until all is saved and return what to raise."""
        return self.recorder.stopped(self.step)

    @property
    def current(self) -> TrainState:
        """The state as evaluation and checkpoints take it: of replicas, the first one's."""
        return jax.device_put(first_replica(self.state)) if self.layout.method == "pmap" else self.state

    def _evaluate(self, name: Split) -> Any:
        """Evaluate a split exactly; return metrics and details."""
        layout = self.layout.jitted()
        with self.clock.phase("evaluate"):
            sums = evaluation_sums(self.experiment, self.current, self.records[name], layout, self.references)
        return self.recorder.evaluated(self.step, name, sums)

    def _keep_best(self) -> None:
        """Save the state as the best one if its validation is better than all before."""
        if self.recorder.is_best(self.step):
            self._save("best")

    def _save(self, kind: Kind) -> None:
        """Start to save the state."""
        around = None if self.faults is None else self.faults.saving(self.checkpoints.wait)
        self.recorder.save(kind, self.current, around)

    def failed(self, error: BaseException) -> None:
        """Write down that the run ended before its time."""
        self.recorder.failed(self.step, error)

    def finish(self) -> Result:
        """Evaluate the final state, draw the curves and write the result."""
        final: tuple[Split, ...] = ("validation", "test")
        evaluated = {name: self._evaluate(name) for name in final}
        self._keep_best()
        with self.clock.phase("checkpoint"):
            self.checkpoints.wait()
        illustrations = self._pictures() if self.options.pictures else {}
        return self.recorder.finish(self.step, evaluated, illustrations)

    def _pictures(self) -> dict[str, str]:
        """Draw what a person would look at; return {file name: what it shows}."""
        state, references, recorder = self.current, self.references, self.recorder
        if jax.process_count() > 1:  # what only the first one computes must not involve the others' devices
            state, references = whole(state), whole(references)
        if not is_main_process():
            return {}
        return draw(self.experiment, state, self.records, self.options, recorder.folder, references)


class Again:
    """The steps of a run once more, from where it stands."""

    def __init__(self, run: Run, batches_at: Callable[[int, int], Any], take: Callable[[int, bool], Any]) -> None:
        self._run, self._feeds_at, self._take = run, batches_at, take

    @property
    def step(self) -> int:
        """The steps done."""
        return self._run.step

    @property
    def current(self) -> TrainState:
        """The state after them."""
        return self._run.current

    def upcoming(self) -> int:
        """Return how many steps the next call takes."""
        return steps_per_call(self.step, self._run.total, self._run.options)

    def advance(self, count: int) -> None:
        """Take so many steps in one call."""
        run = self._run
        feed = self._feeds_at(run.step, count)
        run.state, _ = self._take(count, True)(run.hyperparameters, run.state, feed, run.references)
        run.step += count

    def examined(self) -> tuple[dict[str, Any], list[int]]:
        """Return what is finite at the next update, and the rows of its batch."""
        run = self._run
        layout, feed = run.layout.jitted(), self._feeds_at(run.step, 1)
        if run.layout.method == "pmap":
            feed = jax.device_get(gather(feed))
        findings = compile_for(examine, run.program, layout)(run.hyperparameters, run.current, feed, run.references)
        return jax.device_get(findings), run.recorder.sentry.rows(run.step + 1)
