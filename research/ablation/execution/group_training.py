"""Several runs of one program in lockstep: one call of the compiled step advances them all."""

import contextlib
import dataclasses
import functools
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from research.data import (
    Batches,
    IndexedBatch,
    Records,
    Residency,
    Split,
    TrainingOrder,
    evaluation_batches,
    stacked_batches,
)
from research.devices import SweepMode, compile_together, replicate
from research.errors import RunError
from research.experiment import Experiment, Hyperparameters, RunOptions, split
from research.training import Interrupted, Result, TrainState, identity
from research.training.clock import Clock
from research.training.display.pictures import draw
from research.training.display.progress import progress
from research.training.evaluation import RunningSums, evaluation_size
from research.training.initialization.order import compare_batch
from research.training.initialization.references import digests_of, read_references
from research.training.initialization.start import first_state
from research.training.recorder import Recorder
from research.training.run import Splits
from research.training.stepping import Call, Stepping
from research.training.storage.checkpoints.checkpoint import Checkpoints, Restored
from research.training.storage.environment import environment
from research.training.storage.folder import Folder
from research.training.update.references import References
from research.training.update.shapes import shapes
from research.training.update.step import Metrics, eval_step, step_of

Ended = Callable[[int, Result | Exception], None]

FINAL: tuple[Split, ...] = ("validation", "test")


def train_together(
    experiments: Sequence[Experiment],
    folders: Sequence[Path],
    splits: Splits,
    options: RunOptions,
    mode: SweepMode,
    size: int,
    interrupted: Callable[[], bool],
    ended: Ended,
) -> None:
    """Train runs of one program and one number of steps, each into a folder as `train` would write it.

    Runs that were all stopped at the same step resume from there; otherwise all begin again. What one run cannot do,
    such as write its files, ends that one alone.

    Args:
        experiments, folders: at most `size` runs, all with the same references, and where each goes.
        splits: the examples, the same for all.
        options: as for `train`.
        mode, size: how many are computed together, and how; where there are fewer runs the last one is repeated.
        interrupted: whether to stop after this step.
        ended: called with the number of each run and its result, or what it failed with, as soon as it is known.

    Raises:
        Interrupted: the runs that had not ended were stopped early, and saved.
    """
    compare_batch(experiments[0], splits["train"])
    with contextlib.ExitStack() as stack:
        opened = {}
        for index, (experiment, root) in enumerate(zip(experiments, folders, strict=True)):
            try:
                opened[index] = _open(experiment, root, options, stack)
            except Exception as error:
                ended(index, error)
        if opened:
            references = read_references(experiments[0], next(iter(opened.values())).root, options)
            group = GroupTraining(experiments, opened, splits, options, mode, size, ended, stack, references)
            with contextlib.suppress(NobodyLeft):
                group.train(interrupted)
                group.finish()


def _open(experiment: Experiment, root: Path, options: RunOptions, stack: contextlib.ExitStack) -> Folder:
    """Return the folder of a run, claimed, with what is known at the start written into it."""
    folder = Folder(root)
    folder.check(experiment)
    code = identity.check(experiment, folder, options.accept_code_change)
    stack.enter_context(folder.claimed())
    folder.create(experiment, environment(), experiment.data.files(options.data_dir))
    identity.record(folder, code)
    return folder


class NobodyLeft(Exception):
    """Every run of a group has ended early."""


class GroupTraining(Stepping):
    """The runs of one call of `train_together`; `state` holds the states of all, stacked."""

    def __init__(
        self,
        experiments: Sequence[Experiment],
        folders: dict[int, Folder],
        splits: Splits,
        options: RunOptions,
        mode: SweepMode,
        size: int,
        ended: Ended,
        stack: contextlib.ExitStack,
        references: References,
    ) -> None:
        self.references, digests = references, digests_of(references)
        self.experiments = [*experiments, *[experiments[-1]] * (size - len(experiments))]
        self.splits, self.mode, self.clock = splits, mode, Clock()
        self.options = dataclasses.replace(options, stop_diverged=False)  # one that diverges leaves the others alone
        self.progress, self._ended = progress("none", 0, 0, 0), ended
        self.program, _ = split(experiments[0])
        self.hyperparameters = stacked_hyperparameters(self.experiments)
        self.total = experiments[0].steps
        self._feeds = SweepBatches(self.experiments, splits["train"], options.residency, mode)
        stack.callback(self._feeds.close)
        with self.clock.phase("checkpoint"):
            saved = common_states(self.experiments, folders)
        if saved:
            slots = [min(index, max(saved)) for index in range(size)]
            self.state = stacked([saved.get(slot, saved[min(saved)]).state for slot in slots])
        else:
            with self.clock.phase("compile"):
                self.state = self._initial(next(iter(folders.values())).root)
        self._host: tuple[int, TrainState] | None = None
        self._sums: dict[Split, list[RunningSums]] = {}
        self.step = int(self.state.step[0])
        self.members: dict[int, Recorder] = {}
        for index, folder in folders.items():
            one = self.experiments[index]
            checkpoints = stack.enter_context(
                Checkpoints(
                    folder.checkpoints, options.keep, errors=options.save_errors, references=digests, experiment=one
                )
            )
            if saved:
                checkpoints.forget_best_after(self.step)
            clock = Clock(whole=self.clock, among=len(folders))
            order = TrainingOrder(one.data, splits["train"], one.batch_size, one.seed)
            recorder = Recorder(one, self.options, folder, clock, checkpoints, order)
            recorder.carry(saved.get(index))
            recorder.begin(select(self.host_state(), index), saved[index].journal if saved else None)
            self.members[index] = recorder

    def _initial(self, root: Path) -> TrainState:
        """Return the states before the first step, each computed alone: compiling that takes half the time."""
        return stacked([self._first(experiment, root) for experiment in self.experiments])

    def _first(self, experiment: Experiment, root: Path) -> TrainState:
        """Return the state of one run before its first step, on the host."""
        return jax.device_get(first_state(experiment, root, self.options))

    def train(self, interrupted: Callable[[], bool]) -> None:
        """Take the steps that are left."""
        self.take_steps(functools.cache(self._compiled), self._feeds.at, interrupted)

    def _compiled(self, count: int, reports: bool) -> Callable[..., Any]:
        """Return the compiled program that takes `count` steps of all runs in one call, with metrics or without."""
        return compile_together(
            step_of(count, reports), self.program, self.mode, (0, 0, self._feeds.axes, None), donate_state=True
        )

    def wait(self, call: Call) -> None:
        """Wait until the device has done a call; what is not finite stays in its own run."""
        jax.block_until_ready(call.fault)

    def host_state(self) -> TrainState:
        """Return the states of all, stacked, on the host; moved there once a step."""
        if self._host is None or self._host[0] != self.step:
            self._host = self.step, jax.device_get(self.state)
        return self._host[1]

    def report(self, step: int, metrics: Metrics, seconds: float) -> None:
        """Let every run write its metrics."""
        with self.clock.phase("step"):
            host = jax.device_get(metrics)
        self._each(lambda index, member: member.report(step, select(host, index), seconds))

    def evaluate_between(self) -> None:
        """Evaluate all on validation and let every run keep its best state."""
        self._evaluate("validation")

        def evaluated(index: int, member: Recorder) -> None:
            """Write down what came of one run."""
            member.evaluated(self.step, "validation", self._sums_of(index, "validation"))
            self._keep_best(index, member)

        self._each(evaluated)

    def save_latest(self) -> None:
        """Start to save every run."""
        self._each(lambda index, member: member.save("latest", select(self.host_state(), index)))

    def stopped(self) -> Interrupted:
        """Wait until all are saved and return what to raise."""
        self._each(lambda index, member: member.stopped(self.step))
        return Interrupted(f"stopped {len(self.members)} runs at step {self.step} of {self.total}")

    def finish(self) -> None:
        """Evaluate the final states and let every run write its result."""
        for name in FINAL:
            self._evaluate(name)
        self._each(lambda index, member: self._ended(index, self._result(index, member)))

    def _result(self, index: int, member: Recorder) -> Result:
        """Write and return the result of one run."""
        evaluated = {name: member.evaluated(self.step, name, self._sums_of(index, name)) for name in FINAL}
        self._keep_best(index, member)
        with member.clock.phase("checkpoint"):
            member.checkpoints.wait()
        drawn = {}
        if self.options.pictures:
            state = select(self.host_state(), index)
            drawn = draw(member.experiment, state, self.splits, self.options, member.folder, self.references)
        return member.finish(self.step, evaluated, drawn)

    def _keep_best(self, index: int, member: Recorder) -> None:
        """Save the state of one run as its best one if its validation is better than all before."""
        if member.is_best(self.step):
            member.save("best", select(self.host_state(), index))

    def _sums_of(self, index: int, name: Split) -> Any:
        """Return one run's sums over the split that was evaluated last."""
        return self._sums[name][index].total()

    def _evaluate(self, name: Split) -> None:
        """Compute the sums of all runs over a split."""
        evaluate = compile_together(eval_step, self.program, self.mode, (0, 0, None, None))
        self._sums[name] = [RunningSums(experiment.task) for experiment in self.experiments]
        with self.clock.phase("evaluate"):
            for batch in evaluation_batches(self.splits[name], evaluation_size(self.splits[name])):
                sums = jax.device_get(evaluate(self.hyperparameters, self.state, batch, self.references))
                for index, running in enumerate(self._sums[name]):
                    running.add(select(sums, index))

    def _each(self, action: Callable[[int, Recorder], Any]) -> None:
        """Let every run do something; one that cannot is at its end, the others continue.

        Raises:
            NobodyLeft: none could.
        """
        for index, member in list(self.members.items()):
            try:
                action(index, member)
            except Exception as error:
                del self.members[index]
                member.failed(self.step, error)
                self._ended(index, error)
        if not self.members:
            raise NobodyLeft


class SweepBatches:
    """The training batches of several runs, each in the order of its own seed."""

    def __init__(
        self, experiments: Sequence[Experiment], records: Records, residency: Residency, mode: SweepMode
    ) -> None:
        size, put = experiments[0].batch_size, replicate if mode == "shard" else jax.device_put
        self._seeds = [experiment.seed for experiment in experiments]
        self._batches = {
            seed: Batches(records, size, seed, residency, place=put, data=experiments[0].data) for seed in self._seeds
        }
        on_device = self._batches[self._seeds[0]].residency == "device"
        self.axes: Any = IndexedBatch(None, 0) if on_device else 0  # type: ignore[arg-type]
        """Which parts of a feed each run has of its own: the split is shared, the rows are not."""

    def at(self, step: int, count: int = 1) -> Any:
        """Return what to hand to the compiled program for `count` steps from `step` on."""
        found = {seed: batches.batches_at(step, count) for seed, batches in self._batches.items()}
        return stacked_batches([found[seed] for seed in self._seeds])

    def close(self) -> None:
        """Stop reading ahead."""
        for batches in self._batches.values():
            batches.close()


def common_states(experiments: Sequence[Experiment], folders: dict[int, Folder]) -> dict[int, Restored]:
    """Return each run's saved state and what was saved beside it, if all were saved at the same step.

    Otherwise nothing is returned and all that was saved is removed: these runs begin again.
    """
    saved = {}
    if all(folder.checkpoints.exists() for folder in folders.values()):
        abstract = shapes(experiments[0]).state  # that of any run of the program
        for index, folder in folders.items():
            with Checkpoints(folder.checkpoints, read_only=True, experiment=experiments[index]) as checkpoints:
                try:
                    one = checkpoints.restore("latest", abstract)
                except RunError:  # damaged
                    one = None
            if one is None:
                break
            saved[index] = one._replace(state=jax.device_get(one.state))
    if len(saved) == len(folders) and len({int(one.state.step) for one in saved.values()}) == 1:
        return saved
    for folder in folders.values():
        shutil.rmtree(folder.checkpoints, ignore_errors=True)
    return {}


def stacked_hyperparameters(experiments: Sequence[Experiment]) -> Hyperparameters:
    """Return the hyperparameters of runs of one program, each stacked: [k].

    They stay weakly typed, as a single run's are, so that a float does not widen a bfloat16 computation.
    """
    each = [split(experiment)[1] for experiment in experiments]
    return {path: jnp.stack([jnp.asarray(one[path]) for one in each]) for path in each[0]}


def stacked(states: Sequence[TrainState]) -> TrainState:
    """Return several states as one, on the host."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *states)


def select(tree: Any, index: int) -> Any:
    """Return one run's part of a stacked tree."""
    return jax.tree.map(lambda leaf: leaf[index], tree)
