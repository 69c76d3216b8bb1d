"""A picture of what augmentation does, for a person to check."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from research.data.source import Batch

ROWS = 8


def draw_contact_sheet(
    columns: Mapping[str, Batch], mean: tuple[float, ...], std: tuple[float, ...], names: tuple[str, ...], path: Path
) -> None:
    """Draw the first 8 images of each prepared batch as a column into a PNG, mixed ones with shares and labels.

    `columns` are batches by heading, `mean` and `std` what their images were standardised with, `names` the classes.
    """
    from matplotlib.figure import Figure  # slow to import

    mixed = any("share" in batch for batch in columns.values())
    tiles = np.stack([_pixels(batch["image"][:ROWS], mean, std) for batch in columns.values()], axis=1)
    rows, _, h, w, _ = tiles.shape
    gap = -(-w // 16)
    top = -(-w // 3) if mixed else gap  # captions have two lines
    # One picture of all: sixty small ones take matplotlib a second.
    sheet = np.pad(tiles, ((0, 0), (0, 0), (top, 0), (0, gap), (0, 0)), constant_values=1.0)
    sheet = np.concatenate(np.concatenate(sheet, axis=1), axis=1)  # [rows * (top + h), columns * (w + gap), 3]
    figure = Figure(figsize=(len(columns), 0.3 + len(columns) * sheet.shape[0] / sheet.shape[1]), dpi=150)
    axes = figure.subplots()
    axes.imshow(sheet, interpolation="nearest")
    axes.set_xticks([x * (w + gap) + w / 2 for x in range(len(columns))], list(columns), fontsize=6)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_yticks([])
    axes.spines[:].set_visible(False)
    for x, batch in enumerate(columns.values() if mixed else ()):
        for y in range(rows):
            place = (x * (w + gap), (y + 1) * (top + h) - h - 0.04 * w - 0.5)
            axes.text(*place, _caption(batch, y, names), fontsize=5, va="bottom", parse_math=False)
    figure.savefig(path, format="png", bbox_inches="tight")


def _pixels(images: np.ndarray, mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """Return standardised images as red, green and blue from 0 to 1; grey unless there are three channels."""
    pixels = np.clip(np.asarray(images) * np.array(std) + np.array(mean), 0, 1)
    grey = pixels if pixels.shape[-1] == 3 else pixels.mean(axis=-1, keepdims=True)
    return np.broadcast_to(grey, (*pixels.shape[:-1], 3))


def _caption(batch: Batch, row: int, names: tuple[str, ...]) -> str:
    """Return the name of an example's class, or of both its classes with their shares."""
    label = names[batch["label"][row]][:18]
    if "share" not in batch:
        return label
    share, other = float(batch["share"][row]), names[batch["other"][row]][:18]
    return f"{share:.0%} {label}\n{1 - share:.0%} {other}"
