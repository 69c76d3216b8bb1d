"""What a step costs in each way to run a group: a few real steps, timed; and the memory it takes."""

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp

from research.ablation.group_training import Feeds, stacked_hyperparameters
from research.data import Batches
from research.devices import Together, place, place_together
from research.experiment import Experiment, RunOptions, split
from research.training.loop import Splits
from research.training.step import init_state, train_step

Mode = Literal["loop"] | Together

SECONDS = 0.3  # how long to time: enough for hundreds of steps of a small model, and for three of any
STEPS = range(3, 100)
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


def measure(
    experiments: Sequence[Experiment], splits: Splits, options: RunOptions, mode: Mode, size: int
) -> Measurement:
    """Compile the step for `size` trials of one program, of which some are given, and time a few steps.

    What is compiled stays so for the run itself. Where the step would take more memory than there is, nothing runs.

    Raises:
        Exception: whatever compilation or the step raises, `exhausted` among it.
    """
    start = time.perf_counter()
    initialize, step, hyperparameters, feed_at, close = _prepared(experiments, splits, options, mode, size)
    try:
        abstract = jax.eval_shape(initialize, hyperparameters)
        needed = _needed(step.lower(hyperparameters, abstract, feed_at(0)).compile().memory_analysis())
        if needed is not None and needed > FRACTION * available():
            return Measurement(mode, size, bytes=needed, error=f"needs {needed / 2**30:.1f} GiB")
        state, _ = jax.block_until_ready(step(hyperparameters, initialize(hyperparameters), feed_at(0)))
        compiled = time.perf_counter()
        state, _ = jax.block_until_ready(step(hyperparameters, state, feed_at(1)))
        count = STEPS[min(int(SECONDS / (time.perf_counter() - compiled)), len(STEPS) - 1)]
        began = time.perf_counter()
        for index in range(count):
            state, _ = step(hyperparameters, state, feed_at(index + 2))
        jax.block_until_ready(state)
        each = (time.perf_counter() - began) / count / size
        return Measurement(mode, size, each, compiled - start, needed)
    finally:
        close()


def _prepared(
    experiments: Sequence[Experiment], splits: Splits, options: RunOptions, mode: Mode, size: int
) -> tuple[Any, Any, Any, Callable[[int], Any], Callable[[], None]]:
    """Return the compiled functions, their arguments, and how to stop reading ahead."""
    program, alone = split(experiments[0])
    if mode == "loop":
        first = experiments[0]
        batches = Batches(splits["train"], first.batch_size, first.seed, options.residency)
        step = place(train_step, program, donate_state=True)
        return place(init_state, program), step, jax.device_put(alone), batches.feed_at, batches.close
    several = [experiments[index % len(experiments)] for index in range(size)]
    feeds = Feeds(several, splits["train"], options.residency, mode)
    step = place_together(train_step, program, mode, (0, 0, feeds.axes), donate_state=True)

    def initialize(_: Any) -> Any:
        """Return the state of the first trial for all: time and memory do not depend on its numbers."""
        state = place(init_state, program)(jax.device_put(alone))
        return jax.tree.map(lambda leaf: jnp.repeat(leaf[None], size, axis=0), state)

    return initialize, step, stacked_hyperparameters(several), feeds.at, feeds.close


def _needed(memory: Any) -> int | None:
    """Return the bytes that a compiled step takes on one device; donated arguments are counted once."""
    if memory is None:
        return None
    whole = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return whole - memory.alias_size_in_bytes


def available() -> int:
    """Return the bytes that are left on a device; where it has no memory of its own, those of the host."""
    statistics = jax.devices()[0].memory_stats()
    if statistics and "bytes_limit" in statistics:
        return statistics["bytes_limit"] - statistics["bytes_in_use"]
    return _host_memory() // jax.device_count()


def _host_memory() -> int:
    """Return the bytes that this host could give, or all it has where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable")) * 1024


def exhausted(error: BaseException) -> bool:
    """Return whether an error says that there is not enough memory."""
    return isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
