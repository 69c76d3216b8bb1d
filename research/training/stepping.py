"""Taking steps: what a single run and a group of runs in lockstep have in common."""

import abc
import math
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from research.data import IndexedBatch
from research.devices import Layout, compile_for, compile_replicas
from research.experiment import Experiment, Hyperparameters, RunOptions
from research.training.clock import Clock
from research.training.display.progress import Progress
from research.training.display.watch import Watch
from research.training.faults.guard import Interrupted
from research.training.update.references import References
from research.training.update.state import TrainState
from research.training.update.step import Metrics, replica_batches, step_of, update

Report = tuple[int, Metrics, float]  # step, metrics still on the device, seconds of training


class Call(NamedTuple):
    """A call of the compiled program, made after `step` steps, which the device may still be at.

    Of what it returns only this is kept: metrics that nobody reads are freed at once, and may be large.
    """

    step: int
    fault: jax.Array


# Compiling a program anew takes as long as some thousand steps of a network that is small enough for its metrics to be
# felt; reading it from the folder of compiled programs, some hundred.
MANY = 2000
IN_FLIGHT = 2  # steps dispatched ahead of the device: enough to keep it busy, few enough to stop promptly


class Due(NamedTuple):
    """What follows a step."""

    report: bool
    evaluation: bool
    checkpoint: bool


def due(step: int, total: int, options: RunOptions, stop: bool = False) -> Due:
    """Return what follows `step` of `total`; a run that is to `stop` is saved."""
    last = step == total
    evaluation = bool(options.evaluate_every) and step % options.evaluate_every == 0
    return Due(
        report=step % options.log_every == 0 or last,
        evaluation=evaluation and not last,  # the last one is part of finishing
        checkpoint=step % options.checkpoint_every == 0 or last or stop,
    )


def steps_per_call(step: int, total: int, options: RunOptions) -> int:
    """Return how many steps to take in one call from `step` on, so that nothing is due between.

    The few that are left at the end are taken singly. The same steps go together however often a run is interrupted,
    which happens between calls.
    """
    count = math.gcd(options.steps_per_call, options.log_every, options.evaluate_every, options.checkpoint_every)
    return count if step + count <= total else 1


def may_be_silent(total: int, options: RunOptions) -> bool:
    """Return whether a run has enough steps for a second program, which computes no metrics, to be worth compiling."""
    profiled = options.profile is not None  # of one program, which each step of the trace is to be a call of
    return total >= MANY and options.log_every > 1 and options.placement.method != "pmap" and not profiled


def compiled_train_step(program: Experiment, layout: Layout, count: int = 1, reports: bool = True) -> Any:
    """Return the compiled program that takes `count` steps in one call; by `pmap` every call `reports` metrics."""
    if layout.method != "pmap":
        step = step_of(count, reports)
        return compile_for(step, program, layout, out_shardings=("state", "everywhere"), donate_state=True)
    prepare = compile_for(replica_batches, program, layout, out_shardings="batch")
    advance = compile_replicas(update, program, layout, donate_state=True)

    def of_replicas(hyperparameters: Hyperparameters, state: TrainState, batch: Any, references: References) -> Any:
        """Take a step: the batch is prepared and augmented as a whole, then each replica takes its rows."""
        return advance(hyperparameters, state, prepare(hyperparameters, state, batch, references))

    return of_replicas


def lengths(feed: Any) -> Any:
    """Return what of the input of a call decides which program takes it: batches may be cut to several lengths."""
    return feed.cut if isinstance(feed, IndexedBatch) else tuple(array.shape for array in feed.values())


class Stepping(abc.ABC):
    """Something that is trained step by step.

    `state` is what the compiled step carries, `references` the frozen networks that it is given besides, `step` the
    steps done, `total` all there are.
    """

    options: RunOptions
    clock: Clock
    progress: Progress
    hyperparameters: Hyperparameters
    references: References
    state: Any
    step: int
    total: int
    watch: Watch = Watch()

    @abc.abstractmethod
    def wait(self, call: Call) -> None:
        """Wait until the device has done a call."""

    @abc.abstractmethod
    def report(self, step: int, metrics: Metrics, seconds: float) -> None:
        """Read metrics from the device and write them down."""

    @abc.abstractmethod
    def evaluate_between(self) -> None:
        """Evaluate on validation and keep the best state."""

    @abc.abstractmethod
    def save_latest(self) -> None:
        """Start to save the state."""

    @abc.abstractmethod
    def stopped(self) -> Interrupted:
        """Wait until all is saved and return what to raise for a run that ends early."""

    def take_steps(
        self, take: Callable[[int, bool], Any], batches_at: Callable[[int, int], Any], interrupted: Callable[[], bool]
    ) -> None:
        """Take the steps that are left, reporting, evaluating and saving on the way.

        `take` gives the compiled program that takes so many steps in one call, with metrics or without, `batches_at`
        the input of so many from a step on.
        """
        clock = self.clock
        compiled: set[Any] = set()
        silent = may_be_silent(self.total, self.options)
        in_flight: deque[Call] = deque()
        unread: Report | None = None  # read one report late, so that the device never waits for the host
        while self.step < self.total:
            count = steps_per_call(self.step, self.total, self.options)
            with clock.phase("input"):
                feed = batches_at(self.step, count)
            reports = not silent or due(self.step + count, self.total, self.options).report
            call, program = take(count, reports), (count, reports, lengths(feed))
            with clock.phase("step" if program in compiled else "compile"):
                with self.watch.call(self.step, count, self.state):
                    self.state, metrics = call(self.hyperparameters, self.state, feed, self.references)
                in_flight.append(Call(self.step, metrics["fault"]))
                if len(in_flight) > IN_FLIGHT or program not in compiled:
                    self.wait(in_flight.popleft())
                compiled.add(program)
                self.step += count
                self.progress.advance(self.step)
                self.watch.after(self.step, self.state, call, self.hyperparameters, self.state, feed, self.references)
            stop = interrupted() or self.step - count < (self.options.stop_after or 0) <= self.step
            follows = due(self.step, self.total, self.options, stop)
            if follows.report:
                unread = self._read(unread, (self.step, metrics, clock.training()))
            if follows.evaluation or follows.checkpoint:
                with clock.phase("step"):
                    while in_flight:
                        self.wait(in_flight.popleft())
                    jax.block_until_ready(self.state)
                unread = self._read(unread)
            if follows.evaluation:
                self.evaluate_between()
            if follows.checkpoint:
                self.save_latest()
            if stop and self.step < self.total:
                raise self.stopped()

    def _read(self, unread: Report | None, new: Report | None = None) -> Report | None:
        """Write the last report down and return the new one, to be read at the next report."""
        if unread is not None:
            self.report(*unread)
        return new
