"""A picture of a run's journal."""

import math
from pathlib import Path
from typing import Any

from research.training.storage.files import partial_file

DECADE = 10  # within one, there are few powers of ten to say where a logarithmic axis is


def draw_curves(lines: list[dict[str, Any]], names: tuple[str, ...], path: Path) -> None:
    """Draw each named metric over steps, a line per split and the last value of each, into a PNG."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=(5.2 * len(names), 3.6), layout="constrained", dpi=120)
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        for split in dict.fromkeys(line["split"] for line in lines):
            points = [(line["step"], line[name]) for line in lines if line["split"] == split and name in line]
            _draw_split(axes, split, [point for point in points if math.isfinite(point[1])])
        axes.set(xlabel="step", ylabel=name.replace("_", " "))
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
        if axes.lines:  # a run that diverged at once has no finite point
            axes.legend(frameon=False)
    losses = [line["loss"] for line in lines if "loss" in line and math.isfinite(line["loss"])]
    if "loss" in names and losses and 0 < DECADE * min(losses) < max(losses):
        figure.axes[names.index("loss")].set_yscale("log")
    with partial_file(path) as partial:
        figure.savefig(partial, format="png")


def _draw_split(axes: Any, split: str, points: list[tuple[int, float]]) -> None:
    """Draw one split: training as a thin line, the others with markers, a single point as a marker alone."""
    if not points:
        return
    steps, values = zip(*points, strict=True)
    dots = {"marker": "o", "markersize": 3.5}
    style = {"linewidth": 1.0, "alpha": 0.7} if split == "train" and len(points) > 1 else dots
    axes.plot(steps, values, label=f"{split} {values[-1]:.4f}", **style)
