"""The picture of a benchmark: bars for sides, lines for what is followed over steps."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COLUMNS = 3
OURS, THEIRS = "tab:orange", "tab:blue"


@dataclasses.dataclass(frozen=True)
class Bars:
    """A bar a side as long as the median of its numbers, with their range."""

    title: str
    unit: str
    sides: Mapping[str, Sequence[float]]
    ours: tuple[str, ...] = ()
    """Sides of another color."""
    log: bool = False

    def draw(self, axes: Any) -> None:
        """Draw from the top down."""
        names = list(self.sides)[::-1]
        middle = [statistics.median(self.sides[name]) for name in names]
        below = [m - min(self.sides[name]) for name, m in zip(names, middle, strict=True)]
        above = [max(self.sides[name]) - m for name, m in zip(names, middle, strict=True)]
        colors = [OURS if name in self.ours else THEIRS for name in names]
        if self.log:
            axes.set(xscale="log")
        bars = axes.barh(names, middle, xerr=[below, above], color=colors, error_kw={"linewidth": 1})
        axes.bar_label(bars, [f"{m:,.0f}" if m >= 100 else f"{m:.3g}" for m in middle], padding=3, fontsize=8)
        # Room for the number beside the longest bar; a log axis begins at half of a power of ten below the shortest.
        longest = max(m + more for m, more in zip(middle, above, strict=True))
        if self.log:
            axes.set_xlim(10 ** math.floor(math.log10(min(middle))) / 2, 3 * longest)
        else:
            axes.set_xlim(0, 1.2 * longest)
        axes.set(xlabel=self.unit, title=self.title)


@dataclasses.dataclass(frozen=True)
class Lines:
    """A line a side through points (x, y)."""

    title: str
    across: str
    unit: str
    sides: Mapping[str, Sequence[tuple[float, float]]]
    ours: tuple[str, ...] = ()

    def draw(self, axes: Any) -> None:
        """Draw on an axis that begins at zero, so that a small growth looks small."""
        for name, points in self.sides.items():
            axes.plot(*zip(*points, strict=True), label=name, color=OURS if name in self.ours else THEIRS)
        highest = max(y for points in self.sides.values() for _, y in points)
        axes.set(xlabel=self.across, ylabel=self.unit, title=self.title, ylim=(0, 1.1 * highest))
        axes.legend(frameon=False, loc="lower right")


Panel = Bars | Lines


def draw(panels: Sequence[Panel], path: Path) -> None:
    """Draw panels side by side, at most three in a row."""
    from matplotlib.figure import Figure

    rows = -(-len(panels) // COLUMNS)
    columns = -(-len(panels) // rows)
    figure = Figure(figsize=(4.4 * columns, 2.9 * rows), layout="constrained", dpi=120)
    places = figure.subplots(rows, columns, squeeze=False).flat
    for axes, panel in zip(places, panels, strict=False):
        panel.draw(axes)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in list(figure.axes)[len(panels) :]:
        axes.remove()
    figure.savefig(path, format="png")
