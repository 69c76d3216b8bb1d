"""Pictures of what was read, for a person to check before believing in what is learned from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

ROWS, COLUMNS = 6, 4
INK, PALE = "#333333", "#8fb1cc"
SPLITS = {"train": INK, "validation": "tab:blue", "test": "tab:orange"}


def draw_series(time: np.ndarray, value: np.ndarray, spans: Mapping[Any, range], path: Path) -> None:
    """Draw a series [n] over its time [n] into a PNG, each split in a colour of its own."""
    figure, ((axes,),) = _figure(1, 1, (9, 3.2))
    for split, span in spans.items():
        rows = slice(span.start, min(span.stop + 1, len(value)))  # up to the first point of the next
        axes.plot(time[rows], value[rows], color=SPLITS[split], linewidth=1, label=f"{split}, {len(span):,} points")
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(spans))
    _plain(axes)
    figure.savefig(path, format="png")


def draw_sequences(features: np.ndarray, lengths: np.ndarray, label: np.ndarray, path: Path) -> None:
    """Draw the first sequences [n, l, d] of the first classes into a PNG: a row a class, a line a channel."""
    classes = np.unique(label)[:ROWS]
    figure, grid = _figure(len(classes), COLUMNS, (9, 1.2 * len(classes) + 0.4), shared=True)
    shown = [np.flatnonzero(label == name)[:COLUMNS] for name in classes]
    for name, rows, axes in zip(classes, shown, grid, strict=True):
        for row, place in zip(rows, axes, strict=False):
            place.plot(features[row, : lengths[row]], linewidth=0.8)
            _plain(place)
        for place in axes[len(rows) :]:
            place.set_axis_off()
        axes[0].set_ylabel(f"class {name}", fontsize=8)
    figure.savefig(path, format="png")


def draw_histograms(columns: Mapping[str, np.ndarray], words: Sequence[str], path: Path) -> None:
    """Draw how often the numbers of each column [n] occur into a PNG; `words` are what those of the first one mean."""
    wide = min(range(min(3, len(columns)), COLUMNS + 1), key=lambda width: -len(columns) % width)  # few places empty
    tall = -(-len(columns) // wide)
    figure, grid = _figure(tall, wide, (9, 1.7 * tall + 0.2))
    places = grid.ravel()
    for index, ((name, numbers), axes) in enumerate(zip(columns.items(), places, strict=False)):
        known = numbers[~np.isnan(numbers)]
        different, counts = np.unique(known, return_counts=True)
        if len(different) <= 20:
            axes.bar(np.arange(len(different)), counts, color=PALE if index else "tab:orange")
            texts = [words[int(number)] if words and not index else f"{number:g}" for number in different]
            every = -(-len(texts) // 6)
            axes.set_xticks(np.arange(len(texts))[::every], [text[:10] for text in texts][::every], parse_math=False)
        else:
            axes.hist(known.astype(np.float64), bins=24, color=PALE if index else "tab:orange")
        missing = len(numbers) - len(known)
        title = name[:24] + (f", {missing:,} missing" if missing else "")
        axes.set_title(title, fontsize=8, loc="left", parse_math=False)
        _plain(axes)
    for axes in places[len(columns) :]:
        axes.set_axis_off()
    figure.savefig(path, format="png")


def _figure(rows: int, columns: int, size: tuple[float, float], shared: bool = False) -> tuple[Any, Any]:
    """Return a figure and its axes [rows, columns], which may share one scale."""
    from matplotlib.figure import Figure  # slow to import

    figure = Figure(figsize=size, layout="constrained", dpi=120)
    return figure, figure.subplots(rows, columns, sharex=shared, sharey=shared, squeeze=False)


def _plain(axes: Any) -> None:
    """Leave out what is no data."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7, length=2)
