"""Meshes of a number of devices, and which of those that were compiled is best."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Literal

from research.experiment import Experiment, Placement
from research.models.model import as_model
from research.planning.collectives import Communication
from research.planning.memory import Memory

Fit = Literal["yes", "no", "unknown"]

CLOSE = 16
"""The largest batch is looked for to this part of itself: a compilation halves what is not known."""


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A train step on one mesh: what it takes of each device.

    `lacking` bytes where it does not fit. What the compiler did not get to is None, as where it was not asked because
    the state alone is too large.
    """

    placement: Placement
    memory: Memory
    fits: Fit
    lacking: int | None = None
    communication: Communication | None = None
    compile_seconds: float | None = None


def size(placement: Placement) -> int:
    """Return the devices of a placement that names them all."""
    return (placement.data or 1) * placement.fsdp * placement.tensor


def best(candidates: list[Candidate]) -> Candidate:
    """Return the one that sends the fewest bytes of those that fit; where none does, the one that lacks least."""
    fitting = [each for each in candidates if each.fits != "no" and each.communication is not None]
    if fitting:
        return min(fitting, key=lambda each: each.communication.sent if each.communication else 0.0)
    return min(candidates, key=lambda each: (each.compile_seconds is None, each.lacking or 0))


def largest(
    fits: Callable[[int], bool], first: int, first_fits: bool, limit: int | None
) -> tuple[int | None, int | None]:
    """Return the largest number that was found to fit, None for none, and the smallest found not to, None for none.

    From `first` on numbers are doubled while they fit, up to `limit`; then the gap is halved until it is a part in
    `CLOSE`.
    """
    low, high = (first, None) if first_fits else (0, first)
    while high is None:
        if limit is not None and low >= limit:
            return low, None
        next_one = 2 * low if limit is None else min(2 * low, limit)
        low, high = (next_one, None) if fits(next_one) else (low, next_one)
    while high - low > max(1, low // CLOSE):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low or None, high


def placements(experiment: Experiment, devices: int) -> Iterator[Placement]:
    """Yield the meshes of so many devices that divide the batch, those that communicate less first.

    Dividing matrices sends activations forward and back in every layer, dividing the state only parameters and
    gradients once or twice, dividing the batch alone only gradients. Where a model names no matrices, none are divided.
    """
    examples = experiment.batch_size // experiment.accumulation
    tensors = _divisors(devices) if as_model(experiment.model).partition else [1]
    for tensor, fsdp in itertools.product(tensors, _divisors(devices)):
        data = devices // (tensor * fsdp)
        if data and data * tensor * fsdp == devices and examples % (data * fsdp) == 0:
            yield Placement(data=data, fsdp=fsdp, tensor=tensor)


def _divisors(number: int) -> list[int]:
    """Return what divides a number, smallest first."""
    return [each for each in range(1, number + 1) if number % each == 0]
