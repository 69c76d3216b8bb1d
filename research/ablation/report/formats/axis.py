"""Axes of the drawings of a report: what they show, where a number is, which numbers are written at them."""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Sequence

from research.ablation.report.entries import Entry
from research.ablation.report.numbers import Scale

FAR = 5  # times the typical reach: one disaster among the cells shall not squeeze all others into a point


@dataclasses.dataclass(frozen=True)
class Axis:
    """A range of numbers; `at` maps it onto [0, 1]."""

    low: float
    high: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """Return where a number is: below 0 or above 1 where it lies beyond an end."""
        low, high, value = (
            (math.log10(max(x, 1e-300)) for x in (self.low, self.high, value))
            if self.logarithmic
            else (self.low, self.high, value)
        )
        return (value - low) / (high - low)

    def beyond(self, value: float) -> int:
        """Return -1 or 1 for a number beyond the lower or upper end, 0 for one on the axis."""
        return (value > self.high) - (value < self.low)

    def ticks(self, count: int) -> tuple[float, ...]:
        """Return round numbers on the axis, about `count` of them."""
        if self.logarithmic:
            powers = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            return tuple(10.0**power for power in powers[:: max(1, len(powers) // count)])
        step = self._step(count)
        return tuple(
            number * step
            for number in range(math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9) + 1)
        )

    def texts(self, count: int, power: int = 0, signed: bool = False) -> tuple[tuple[float, str], ...]:
        """Return the ticks with their numbers, in units of 10^power."""
        if self.logarithmic:
            return tuple((tick, f"{tick:g}") for tick in self.ticks(count))
        decimals = max(0, power - math.floor(math.log10(self._step(count)) + 1e-9))
        return tuple((tick, Scale(decimals, power).text(tick, signed)) for tick in self.ticks(count))

    def _step(self, count: int) -> float:
        """Return 1, 2 or 5 times a power of ten, near a `count`-th of the axis."""
        rough = (self.high - self.low) / max(count, 1)
        unit = 10.0 ** math.floor(math.log10(rough))
        return unit * next(factor for factor in (1, 2, 5, 10) if factor * unit >= rough * 0.999)


def axis(values: Iterable[float], room: float = 0.05) -> Axis:
    """Return an axis that shows every finite value, with room at both ends."""
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    spare = (high - low) * room or abs(high) * 0.01 or 1.0
    return Axis(low - spare, high + spare)


def forest_axis(entries: Iterable[Entry | None], margin: float | None) -> Axis:
    """Return an axis for the differences of a column and their intervals, with zero and the margin on it."""
    comparisons = [entry.comparison for entry in entries if entry is not None and entry.comparison is not None]
    marks = [0.0] if margin is None else [-1.25 * margin, 0.0, 1.25 * margin]
    return _without_the_far([(found.difference, *found.interval) for found in comparisons], 0.0, marks)


def pairs_axis(baseline: Entry, entries: Iterable[Entry | None]) -> Axis:
    """Return an axis for the values of every seed in a column."""
    cells = [tuple(entry.values.values()) for entry in (baseline, *entries) if entry is not None]
    return _without_the_far(cells, baseline.mean, [])


def _without_the_far(cells: Sequence[Sequence[float]], centre: float, marks: Sequence[float]) -> Axis:
    """Return an axis for the numbers of all cells but those that reach much farther from the centre than is typical."""
    reaches = [max((abs(value - centre) for value in cell if math.isfinite(value)), default=0.0) for cell in cells]
    typical = statistics.median([reach for reach in reaches if reach > 0] or [0.0])
    near = [value for cell, reach in zip(cells, reaches, strict=True) if not reach > FAR * typical for value in cell]
    return axis([*marks, *near])
