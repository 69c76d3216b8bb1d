"""Which way to run a group: the one measured to be fastest."""

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import jax

from research.ablation.design.groups import TrialGroup
from research.ablation.execution.modes.measuring import FRACTION, Measurement, Mode, available, exhausted, measure
from research.data import Uniform
from research.devices.cpu.cores import cores
from research.errors import RunError
from research.experiment import Experiment, RunOptions
from research.training.run import Splits
from research.training.storage import sealed
from research.training.storage.environment import device

Execution = Literal["auto"] | Mode
Gain = Literal["much", "some", "little"]

# A CPU gains nothing from more than a few small models at once: 7 times at 8 multilayer perceptrons, 4 times at 32.
LARGEST = {"cpu": (8,)}
LARGEST_ELSEWHERE = (8, 32)
PER_DEVICE = (1, 4)
NOISE = 0.9  # of the time of a loop is what another way must stay below
# A call costs something by itself, so it takes as many steps as stay below this time, one trial at a time. With twenty
# in a call the steps of a small multilayer perceptron became 4 times as fast one trial at a time and 7 times 8 at a
# time, those of a CNN and an LSTM of a millisecond 1.5 and 1.7 times, of a Transformer of 9 ms 1.4 and 1.9 times.
CALL_SECONDS = 0.1
MANY_STEPS = (50, 10, 5)
# Below this time of a step, what a call costs by itself is most of it.
TINY_SECONDS = 3e-4
# A way is tried only if the best one so far would take this many times as long as compiling a loop: at most a twentieth
# is lost where nothing is to be expected, a third where something is, and a half where much is.
PATIENCE: dict[Gain, float] = {"much": 2.0, "some": 3.0, "little": 20.0}


@dataclasses.dataclass(frozen=True)
class Choice:
    """How a group is run: `size` trials at a time, up to `steps_per_call` in a call, and why."""

    mode: Mode
    size: int
    reason: str
    measurements: tuple[Measurement, ...] = ()
    steps_per_call: int = 1

    @property
    def step_seconds(self) -> float:
        """Seconds that one step of all trials that run together was measured to take; infinite where none was."""
        chosen = (found for found in self.measurements if self.chose(found))
        return next((found.step_seconds * found.size for found in chosen if found.step_seconds), math.inf)

    def chose(self, found: Measurement) -> bool:
        """Return whether this is the way that was measured."""
        return (self.mode, self.size, self.steps_per_call) == (found.mode, found.size, found.steps_per_call)


def choose(
    experiments: Sequence[Experiment], splits: Splits, options: RunOptions, execution: Execution, shared: bool
) -> Choice:
    """Return how to run the trials of a group that are left.

    Args:
        experiments: those trials, of one program.
        splits, options: as for `train`.
        execution: "auto" measures; anything else is done, as far as memory allows.
        shared: whether all read the same examples from memory, without which they cannot run together.
    """
    if execution == "loop":
        return Choice("loop", 1, "asked for")
    if not isinstance(experiments[0].data.order, Uniform):
        return Choice("loop", 1, "the batches of a Bucketed order differ in length")
    if not shared:
        return Choice("loop", 1, "the trials do not share examples in memory")
    if execution != "auto":
        found = fitting(experiments, splits, options, execution, sizes(execution, len(experiments))[-1], None)
        if found.error:
            return Choice("loop", 1, f"{execution} {found.error}", (found,))
        return Choice(found.mode, found.size, "asked for", (found,))
    if len(experiments) == 1:
        return Choice("loop", 1, "a single trial")
    loop = measure(experiments, splits, options, "loop", 1)
    if loop.error:
        return Choice("loop", 1, loop.error, (loop,))
    return fastest(experiments, splits, options, loop)


def fastest(experiments: Sequence[Experiment], splits: Splits, options: RunOptions, loop: Measurement) -> Choice:
    """Return the fastest way; a loop of single steps unless another one is faster by more than noise."""
    assert loop.step_seconds is not None and loop.compile_seconds is not None
    best, found = loop, [loop]
    steps = steps_of_a_call(loop.step_seconds)
    if steps > 1:
        options = dataclasses.replace(options, steps_per_call=steps)
    for mode, size in ways(len(experiments), loop.step_seconds):
        assert best.step_seconds is not None
        patience = PATIENCE[gain(mode, loop.step_seconds, best.step_seconds)]
        if best.step_seconds * experiments[0].steps * len(experiments) < patience * loop.compile_seconds:
            continue
        found.append(fitting(experiments, splits, options, mode, size, loop))
        seconds = found[-1].step_seconds
        if seconds is not None and seconds < min(best.step_seconds or 0.0, NOISE * loop.step_seconds):
            best = found[-1]
    reason = "measured" if len(found) > 1 else "too little left to do to try anything else"
    return Choice(best.mode, best.size, reason, tuple(found), best.steps_per_call)


def steps_of_a_call(seconds: float) -> int:
    """Return how many steps of so many seconds a call may take."""
    return next((steps for steps in MANY_STEPS if steps * seconds < CALL_SECONDS), 1)


def ways(n: int, seconds: float) -> list[tuple[Mode, int]]:
    """Return what to try for `n` trials whose steps take so many seconds in a loop, the most promising first."""
    several = list(candidates(n))
    if steps_of_a_call(seconds) == 1:
        return several
    return [*several, ("loop", 1)] if seconds < TINY_SECONDS else [("loop", 1), *several]


def gain(mode: Mode, seconds: float, best: float) -> Gain:
    """Return what is to be expected of a way where steps take so many seconds in a loop, and in the best way so far."""
    if steps_of_a_call(seconds) == 1 or (mode == "loop" and best < seconds / 2):  # calls are saved already
        return "little"
    if best < TINY_SECONDS:
        return "much"
    return "little" if mode != "loop" and jax.default_backend() == "cpu" and cores() == 1 else "some"


def candidates(n: int) -> Iterator[tuple[Mode, int]]:
    """Yield the ways worth trying to run `n` trials together, and how many at a time."""
    if jax.device_count() > 1:
        yield from (("shard", size) for size in sizes("shard", n))
    yield from (("vmap", size) for size in sizes("vmap", n))
    # On a CPU, what XLA loops over leaves fast paths, as of convolutions whose kernels differ.
    if jax.default_backend() != "cpu":
        yield from (("map", size) for size in sizes("map", n))


def sizes(mode: Mode, n: int) -> list[int]:
    """Return how many of `n` trials to run at a time; with "shard" a multiple of the number of devices."""
    devices = jax.device_count()
    if mode == "shard":
        found = [math.ceil(balanced(n, devices * each) / devices) * devices for each in PER_DEVICE]
    else:
        found = [balanced(n, largest) for largest in LARGEST.get(jax.default_backend(), LARGEST_ELSEWHERE)]
    return list(dict.fromkeys(found))


def balanced(n: int, largest: int) -> int:
    """Return the size of the fewest equal chunks of `n` trials, of at most `largest`, with the least padding."""
    return math.ceil(n / math.ceil(n / largest))


def fitting(
    experiments: Sequence[Experiment],
    splits: Splits,
    options: RunOptions,
    mode: Mode,
    size: int,
    loop: Measurement | None,
) -> Measurement:
    """Measure one way at the greatest size up to `size` that memory allows; of what cannot be done, say why."""
    unit = jax.device_count() if mode == "shard" else 1
    while True:
        try:
            found = measure(experiments, splits, options, mode, size)
        except Exception as error:
            if not exhausted(error):
                return Measurement(mode, size, error=f"{type(error).__name__}: {error}".splitlines()[0])
            found = Measurement(mode, size, error="does not fit in memory")
        smaller = reduced(found, loop) // unit * unit
        if not found.error or smaller < unit:
            return found
        size = smaller


def reduced(found: Measurement, loop: Measurement | None) -> int:
    """Return the size to try after one that did not fit: by the line through two programs' bytes, else half of it."""
    if found.size == 1 or found.bytes is None or loop is None or loop.bytes is None or found.bytes <= loop.bytes:
        return found.size // 2
    each = (found.bytes - loop.bytes) / (found.size - 1)
    return min(found.size - 1, 1 + int((FRACTION * available() - loop.bytes) / each))


def halved(choice: Choice) -> Choice | None:
    """Return half as many trials at a time, for when memory ran out all the same; None where that is impossible."""
    unit = jax.device_count() if choice.mode == "shard" else 1
    size = choice.size // 2 // unit * unit
    return dataclasses.replace(choice, size=size, reason="memory ran out") if size else None


def choice_file(root: Path, group: str) -> Path:
    """Return where it is written how a group, given by its name, is run in the study of a folder."""
    return root / "groups" / group / "execution.json"


def write_choice(file: Path, choice: Choice, group: TrialGroup) -> None:
    """Write how a group is run; `cells`, `steps` and `device` are for readers."""
    content = {**dataclasses.asdict(choice), "cells": group.cells, "steps": group.steps, "device": device()}
    sealed.write(file, json.dumps(content, indent=2) + "\n")


def read_choice(file: Path) -> Choice:
    """Return how a group is run. Raises `RunError` where the file is damaged."""
    try:
        content = json.loads(sealed.read(file))
        measured = tuple(Measurement(**measurement) for measurement in content["measurements"])
        return Choice(content["mode"], content["size"], content["reason"], measured, content.get("steps_per_call", 1))
    except (ValueError, TypeError, KeyError) as error:
        raise RunError(f"{file} is damaged: {error}; delete it to choose again") from error
