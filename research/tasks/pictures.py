"""Pictures that tasks draw of a few examples."""

import warnings
from pathlib import Path

import numpy as np

VISIBLE = str.maketrans({" ": "␣", "\n": "⏎", "\t": "⇥"})


def draw_alignments(alignments: list[tuple[np.ndarray, list[str], list[str]]], path: Path) -> None:
    """Draw weights [written, source] with the tokens at their rows and columns, side by side, into a PNG."""
    from matplotlib.figure import Figure  # slow to import

    shapes = [np.maximum(weights.shape, 1) for weights, _, _ in alignments]
    width, height = sum(shape[1] for shape in shapes), max(shape[0] for shape in shapes)
    figure = Figure(figsize=(0.22 * width + 0.9 * len(shapes), 0.22 * height + 0.9), layout="constrained", dpi=120)
    ratios = [shape[1] for shape in shapes]
    for axes, (weights, rows, columns) in zip(
        figure.subplots(1, len(shapes), squeeze=False, width_ratios=ratios)[0], alignments, strict=True
    ):
        if weights.size:
            axes.imshow(weights, cmap="Greys", vmin=0, vmax=1, aspect="equal", interpolation="nearest")
        axes.xaxis.tick_top()
        axes.set_xticks(
            range(len(columns)), [name.translate(VISIBLE) for name in columns], parse_math=False, fontsize=8
        )
        axes.set_yticks(range(len(rows)), [name.translate(VISIBLE) for name in rows], parse_math=False, fontsize=8)
        axes.tick_params(length=0)
    with warnings.catch_warnings():  # a letter that the font lacks is drawn as a box
        warnings.filterwarnings("ignore", message="Glyph .* missing from font", category=UserWarning)
        figure.savefig(path, format="png")


def draw_forecast(columns: dict[str, np.ndarray], band: tuple[np.ndarray, np.ndarray] | None, path: Path) -> None:
    """Draw target, prediction and the seasonal naive forecast [n] over time [n] into a PNG, with a band around it."""
    from matplotlib.figure import Figure  # slow to import

    order = np.argsort(columns["time"], kind="stable")
    time, target, prediction, seasonal = (columns[name][order] for name in ("time", "target", "prediction", "seasonal"))
    figure = Figure(figsize=(9, 3.6), layout="constrained", dpi=120)
    axes = figure.subplots()
    axes.plot(time, seasonal, label="seasonal naive", color="tab:gray", linewidth=0.7)
    if band is not None:
        low, high = (edge[order] for edge in band)
        axes.fill_between(time, low, high, color="tab:orange", alpha=0.25, linewidth=0, label="band")
    axes.plot(time, target, label="actual", color="black", linewidth=1.2)
    axes.plot(time, prediction, label="forecast of one step", color="tab:orange", linewidth=1.2)
    axes.set(xlabel="time")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.legend(frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=4)  # above, where no curve is
    figure.savefig(path, format="png")
