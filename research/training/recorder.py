"""What is written down of a run while it is under way: journal, checkpoints, lineage and result. Nothing is computed.

A run alone has one of these, and each run of a group that is trained in lockstep has its own.
"""

import contextlib
import json
import math
import os
from typing import Any

from research.data import Split, TrainingOrder
from research.devices import ONE_DEVICE, Layout, is_main_process
from research.experiment import Experiment, RunOptions, fingerprint, to_json
from research.training.clock import Clock, goodput
from research.training.display.progress import Progress, progress, shown
from research.training.faults.guard import Interrupted
from research.training.faults.nonfinite import NonFiniteMonitor
from research.training.storage import lineage, sealed
from research.training.storage.checkpoints.checkpoint import Checkpoints, Kind, Restored
from research.training.storage.environment import commit, device, versions
from research.training.storage.folder import Folder, Result
from research.training.storage.journal import Journal, Mark
from research.training.storage.liveness import host
from research.training.update.state import TrainState, count_parameters

Evaluated = tuple[dict[str, float], dict[str, Any]]
"""Metrics of a split, and what is worth keeping besides."""


class Recorder:
    """The files of one run, and what it shows."""

    journal: Journal
    progress: Progress
    sentry: NonFiniteMonitor
    parameters: int

    def __init__(
        self,
        experiment: Experiment,
        options: RunOptions,
        folder: Folder,
        clock: Clock,
        checkpoints: Checkpoints,
        order: TrainingOrder,
        layout: Layout = ONE_DEVICE,
    ) -> None:
        """Take the parts together; `order` is that of the training examples, `layout` says on which devices."""
        self.experiment, self.options, self.folder, self.clock = experiment, options, folder, clock
        self.checkpoints, self.order, self.layout = checkpoints, order, layout
        self.lineage = lineage.Lineage(folder.lineage, writes=is_main_process())
        self._before = self.lineage.events()

    def carry(self, restored: Restored | None) -> None:
        """Let the clock know what was spent up to the state that is restored, and what other processes lost."""
        spent = {} if restored is None else lineage.carried(self._before, int(restored.state.step), restored.seconds)
        self.clock.carry(spent)
        self.clock.lose(lineage.total_process_seconds(self._before) - spent.get("total", 0.0))

    def begin(self, state: TrainState, mark: Mark | None) -> None:
        """Say and write down from which state this process starts, with the mark of the journal saved beside it."""
        experiment, layout, step = self.experiment, self.layout, int(state.step)
        self.parameters = count_parameters(state)
        self.journal = self._journal(step, mark)
        self.progress = progress(
            self.options.progress if is_main_process() else "none", experiment.steps, step, experiment.batch_size
        )
        self.sentry = NonFiniteMonitor(experiment, self.order, self.progress.say)
        self.sentry.begin(state)
        self.progress.say(
            f"{fingerprint(experiment)} seed {experiment.seed} on {device(layout.devices)}{layout}, "
            f"{self.parameters:,} parameters, {len(self.order):,} training examples, {self.folder.root}"
        )
        if step:
            self.progress.say(f"resumed at step {step}")
        self.lineage.add(
            "resumed" if step else "began",
            step=step,
            pid=os.getpid(),
            host=host(),
            commit=commit(),
            device=device(layout.devices),
            share=self.clock.share,
        )

    def _journal(self, step: int, mark: Mark | None) -> Journal:
        """Open the journal at a step."""
        task = self.experiment.task
        return Journal(self.folder.metrics, step, task.monitor, task.maximize, mark, writes=is_main_process())

    def rewind(self, state: TrainState, mark: Mark | None, step: int, reason: str) -> None:
        """Forget what came after `state`, as something was not finite at `step`."""
        to = int(state.step)
        self.checkpoints.forget_best_after(to)
        self.journal = self._journal(to, mark)
        self.sentry.begin(state)
        self.progress.say(f"{reason}: once more from step {to}")
        self.lineage.add("rewound", step=step, to=to, reason=reason)

    def report(self, step: int, metrics: dict[str, Any], seconds: float) -> None:
        """Write metrics, which are on the host, into the journal and show the few that matter."""
        with self.clock.phase("step"):
            headline = self._headline(self.experiment.task.summarize(metrics["sums"]))
            others = {name: float(value) for name, value in metrics.items() if name not in ("sums", "fault")}
            self.journal.write(step, "train", {**headline, **others})
            self.progress.report(step, headline, seconds)
            self.folder.heartbeat()

    def evaluated(self, step: int, name: Split, sums: Any) -> Evaluated:
        """Write what the sums over a split say into the journal and onto the screen; return metrics and details."""
        task = self.experiment.task
        metrics = task.summarize(sums)
        self.journal.write(step, name, metrics)
        last = step == self.experiment.steps
        self.progress.say(f"{name} at step {step}: {shown(metrics if last else self._headline(metrics))}")
        if strange := [metric for metric, value in metrics.items() if not math.isfinite(value)]:
            self.progress.say(f"{name} at step {step}: {', '.join(strange)} not finite, so never best; continuing")
        return metrics, task.details(sums)

    def is_best(self, step: int) -> bool:
        """Return whether the evaluation on validation at this step is the best so far, and that state is to be kept."""
        best = self.journal.best
        return self.options.keep_best and best is not None and best.step == step

    def save(self, kind: Kind, state: TrainState, around: contextlib.AbstractContextManager[Any] | None = None) -> None:
        """Start to save a state, within `around`. Raises `NotFinite` where it is not finite and may not be."""
        self.folder.heartbeat()
        with self.clock.phase("checkpoint"):
            if self.options.stop_diverged:
                self.sentry.check(state)
            with around or contextlib.nullcontext():
                self.checkpoints.save(kind, state, self.clock.seconds(), self.journal.mark())

    def stopped(self, step: int) -> Interrupted:
        """Wait until all is saved and return what to raise."""
        with self.clock.phase("checkpoint"):
            self.checkpoints.wait()
        self.lineage.add("interrupted", step=step, seconds=self._say_goodput(), life=self.clock.life())
        return Interrupted(
            f"stopped at step {step} of {self.experiment.steps}, saved in {self.folder.root}; "
            "the same command resumes from there"
        )

    def failed(self, step: int, error: BaseException) -> None:
        """Write down that the run ended before its time, unless it was interrupted, which is written down already."""
        if not isinstance(error, Interrupted):
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            self.lineage.add("failed", step=step, reason=reason, life=self.clock.life())
        if isinstance(error, KeyboardInterrupt):  # a second signal
            saved = max(self.checkpoints.on_disk("latest"), default=0)
            what = f"step {saved} is the last that is saved" if saved else "nothing is saved yet"
            self.progress.say(
                f"stopped at once at step {step} of {self.experiment.steps}: {what} in {self.folder.root}, "
                f"and the same command {'resumes from there' if saved else 'begins again'}"
            )

    def finish(self, step: int, evaluated: dict[Split, Evaluated], illustrations: dict[str, str]) -> Result:
        """Write and return the result."""
        seconds = self._say_goodput()
        details: dict[str, dict[str, Any]] = {name: details for name, (_, details) in evaluated.items()}
        if is_main_process():
            details = self.folder.write_details(details)
            sealed.seal(self.folder.metrics)
        result = Result(
            experiment=json.loads(to_json(self.experiment)),
            fingerprint=fingerprint(self.experiment),
            seed=self.experiment.seed,
            steps=step,
            metrics={name: metrics for name, (metrics, _) in evaluated.items()},
            details=details,
            seconds=seconds,
            parameters=self.parameters,
            device=device(self.layout.devices),
            versions=versions(),
            commit=commit(),
            illustrations=illustrations,
        )
        if is_main_process():
            self.folder.write_result(result)
        self.lineage.add("finished", step=step, seconds=seconds, life=self.clock.life())
        return result

    def _headline(self, metrics: dict[str, float]) -> dict[str, float]:
        """Return the few metrics that are shown while training."""
        return {name: metrics[name] for name in self.experiment.task.headline}

    def _say_goodput(self) -> dict[str, float]:
        """Say which share of the time of all processes of this run were steps that count; return where it went."""
        seconds = self.clock.seconds()
        self.progress.say(goodput(seconds, lineage.starts(self._before) + 1))
        return seconds
