"""Where the marks of the HTML report's drawings are; templates/drawing.html sets them, as inline SVG.

Strips are drawn in percent of their width, so that they fit a phone as well as a desk while text and dots keep their
size. Panels of curves have a size of their own, and are scaled as a whole.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import ClassVar

from research.ablation.report.formats.axis import Axis, axis
from research.ablation.report.learning_curves import Curve


@dataclasses.dataclass(frozen=True)
class Strip:
    """A drawing along one axis, as wide as there is room."""

    along: Axis

    def x(self, value: float) -> str:
        """Return where a value is: at the end of the axis where it lies beyond."""
        return _percent(min(max(self.along.at(value), 0), 1))

    def width(self, margin: float) -> str:
        """Return how wide the band is within which differences count as none."""
        return _percent(self.along.at(margin) - self.along.at(-margin))


@dataclasses.dataclass(frozen=True)
class Panel:
    """A plot of learning curves with two axes, and room for their numbers to its left and below it."""

    across: Axis
    """Of training steps."""
    up: Axis
    """Of the metric."""

    width: ClassVar[int] = 210
    height: ClassVar[int] = 120
    left: ClassVar[int] = 40
    top: ClassVar[int] = 8

    def x(self, step: float) -> float:
        """Return where a step is in the plot."""
        return self.across.at(step) * self.width

    def y(self, value: float) -> float:
        """Return where a value is in the plot."""
        return (1 - self.up.at(value)) * self.height

    def line(self, curve: Curve) -> str:
        """Return the points of a curve."""
        return self._points(zip(curve.steps, curve.mean, strict=True))

    def band(self, curve: Curve) -> str:
        """Return the outline of a curve's intervals; empty where there are none."""
        bounded = [step for step in zip(curve.steps, curve.low, curve.high, strict=True) if math.isfinite(step[1])]
        low, high = ([(step, bounds[which]) for step, *bounds in bounded] for which in (0, 1))
        return self._points([*low, *reversed(high)])

    def _points(self, pairs: Iterable[tuple[float, float]]) -> str:
        """Return the coordinates of a path."""
        return " ".join(f"{self.x(step):.1f},{self.y(value):.1f}" for step, value in pairs)


def panel_of(curves: Sequence[Curve]) -> Panel:
    """Return a panel with axes that all curves share.

    Values are those after the first fifth of training, so that the climb at its beginning does not flatten the rest,
    and up to a third more for intervals, of which those of few seeds are wide. They are logarithmic where they span
    more than a factor of thirty.
    """
    last = max(step for curve in curves for step in curve.steps)
    points = [
        (mean, low, high)
        for curve in curves
        for step, mean, low, high in zip(curve.steps, curve.mean, curve.low, curve.high, strict=True)
        if step >= last / 5
    ]
    means = [mean for mean, _, _ in points]
    low, high = min(means), max(means)
    across = Axis(min(0, *(curve.steps[0] for curve in curves)), max(last, 1))
    if low > 0 and high > 30 * low:
        return Panel(across, Axis(low / 1.3, high * 1.3, logarithmic=True))
    room = (high - low) / 3
    bounds = [bound for _, *pair in points for bound in pair if math.isfinite(bound)]
    return Panel(across, axis([low, high, *(min(max(bound, low - room), high + room) for bound in bounds)]))


def _percent(share: float) -> str:
    """Return a share of the width."""
    return f"{100 * share:.2f}%"
