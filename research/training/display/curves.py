"""A picture of a run's journal."""

import math
from pathlib import Path
from typing import Any

from research.training.storage.files import partial_file


def draw_curves(lines: list[dict[str, Any]], names: tuple[str, ...], path: Path) -> None:
    """Draw each named metric over steps, a line per split and the last value of each, into a PNG."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(5.2 * len(names), 3.6), layout="constrained", dpi=120)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for split in dict.fromkeys(line["split"] for line in lines):
            points = [(line["step"], line[name]) for line in lines if line["split"] == split and name in line]
            _draw_split(axes, split, [point for point in points if math.isfinite(point[1])])
        axes.set(xlabel="step", ylabel=name.replace("_", " "))
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        if axes.lines:  # a run that diverged at once has no finite point
            axes.legend(frameon=False)
    if all(line["loss"] > 0 for line in lines if "loss" in line) and "loss" in names:
        figure.axes[names.index("loss")].set_yscale("log")
    with partial_file(path) as partial:
        figure.savefig(partial, format="png")


def _draw_split(axes: Any, split: str, points: list[tuple[int, float]]) -> None:
    """Draw one split: training as a thin line, the others with markers, a single point as a marker alone."""
    if not points:
        return
    steps, values = zip(*points, strict=True)
    style = {"linewidth": 1.0, "alpha": 0.7} if split == "train" else {"marker": "o", "markersize": 3.5}
    axes.plot(steps, values, label=f"{split} {values[-1]:.4f}", **style)
