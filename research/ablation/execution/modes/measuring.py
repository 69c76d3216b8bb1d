"""What a step costs in each way to run a group: a few real steps, timed; and the memory it takes."""

import dataclasses
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import psutil

from research.ablation.execution.group_training import SweepBatches, stacked_hyperparameters
from research.data import Batches
from research.devices import ONE_DEVICE, SweepMode, compile_for, compile_together
from research.devices.cpu.cores import cores
from research.experiment import Experiment, RunOptions, split
from research.training.run import Splits
from research.training.stepping import compiled_train_step, may_be_silent, steps_per_call
from research.training.update.shapes import shapes
from research.training.update.state import TrainState
from research.training.update.step import init_state, step_of

Mode = Literal["loop"] | SweepMode

SECONDS = 0.2  # how long to time, with at most MOST_CALLS and at least LEAST_STEPS
MOST_CALLS = 100
LEAST_STEPS = 3
FRACTION = 0.8  # of the memory that is left: fragments, evaluation and other processes need some


@dataclasses.dataclass(frozen=True)
class Measurement:
    """What was measured of one way: `step_seconds` are those of one step of one trial.

    `compile_seconds` include the first step. `bytes` is what the compiled step takes for arguments, results and between
    them; None where the back end does not say. `error` says why it cannot be run this way.
    """

    mode: Mode
    size: int
    step_seconds: float | None = None
    compile_seconds: float | None = None
    bytes: int | None = None
    error: str = ""
    steps_per_call: int = 1


def measure(
    experiments: Sequence[Experiment], splits: Splits, options: RunOptions, mode: Mode, size: int
) -> Measurement:
    """Compile the step for `size` trials of one program, of which some are given, and time a few calls.

    A call takes as many steps as `options` say; batches have the full length, the most that they have in any order.
    What is compiled stays so for the run itself. Where the step would take more memory than there is, nothing runs.

    Raises:
        Exception: whatever compilation or the step raises, `exhausted` among it.
    """
    start = time.perf_counter()
    program, alone = split(experiments[0])
    alone = jax.device_put(alone)
    steps = steps_per_call(0, experiments[0].steps, options)
    step, hyperparameters, batches_at, close = _prepared(experiments, splits, options, mode, size, steps)
    held = shapes(experiments[0]).references

    def for_all(state: TrainState) -> TrainState:
        """Give all the state of the first trial: time and memory do not depend on its numbers."""
        return state if mode == "loop" else jax.tree.map(lambda leaf: jnp.repeat(leaf[None], size, axis=0), state)

    try:
        abstract = jax.eval_shape(lambda alone: for_all(init_state(program, alone)), alone)
        program_of_step = step.lower(hyperparameters, abstract, batches_at(0, steps), held).compile()
        needed = _needed(program_of_step.memory_analysis())
        if needed is not None and needed > FRACTION * available():
            error = f"needs {needed / 2**30:.1f} GiB"
            return Measurement(mode, size, bytes=needed, error=error, steps_per_call=steps)
        state = compile_for(init_state, program, out_shardings="state", once=True)(alone)  # as a run begins
        state = jax.jit(for_all)(state)  # in one program; alone each operation would be compiled
        references = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), held)
        state, _ = jax.block_until_ready(step(hyperparameters, state, batches_at(0, steps), references))
        compiled = time.perf_counter()
        state, _ = jax.block_until_ready(step(hyperparameters, state, batches_at(steps, steps), references))
        enough = min(int(SECONDS / (time.perf_counter() - compiled)), MOST_CALLS)
        calls = max(enough, math.ceil(LEAST_STEPS / steps))
        began = time.perf_counter()
        for index in range(calls):
            state, _ = step(hyperparameters, state, batches_at((index + 2) * steps, steps), references)
        jax.block_until_ready(state)
        each = (time.perf_counter() - began) / calls / size / steps
        return Measurement(mode, size, each, compiled - start, needed, steps_per_call=steps)
    finally:
        close()


def _prepared(
    experiments: Sequence[Experiment], splits: Splits, options: RunOptions, mode: Mode, size: int, steps: int
) -> tuple[Any, Any, Callable[[int, int], Any], Callable[[], None]]:
    """Return the compiled step, its hyperparameters, what gives its input, and what stops reading ahead."""
    first = experiments[0]
    program, alone = split(first)
    reports = not may_be_silent(first.steps, options)  # as most calls of a run do
    if mode == "loop":
        batches = Batches(splits["train"], first.batch_size, first.seed, options.residency)
        step = compiled_train_step(program, ONE_DEVICE, steps, reports)
        return step, jax.device_put(alone), batches.batches_at, batches.close
    several = [experiments[index % len(experiments)] for index in range(size)]
    feeds = SweepBatches(several, splits["train"], options.residency, mode)
    step = compile_together(step_of(steps, reports), program, mode, (0, 0, feeds.axes, None), donate_state=True)
    return step, stacked_hyperparameters(several), feeds.at, feeds.close


def _needed(memory: Any) -> int | None:
    """Return the bytes that a compiled step takes on one device; donated arguments are counted once."""
    if memory is None:
        return None
    whole = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return whole - memory.alias_size_in_bytes


def available() -> int:
    """Return the bytes that are left on a device.

    Where it has no memory of its own they are the host's, of which a process has as large a part as of the cores.
    """
    statistics = jax.devices()[0].memory_stats()
    if statistics and "bytes_limit" in statistics:
        return statistics["bytes_limit"] - statistics["bytes_in_use"]
    return int(host_memory() * cores() / (os.cpu_count() or 1)) // jax.device_count()


def host_memory() -> int:
    """Return the bytes that this host could give."""
    return psutil.virtual_memory().available


def exhausted(error: BaseException) -> bool:
    """Return whether an error says that there is not enough memory."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
