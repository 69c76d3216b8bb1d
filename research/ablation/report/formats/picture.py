"""A report as one picture, for a README: differences with their intervals, and every seed."""

import textwrap
from pathlib import Path
from typing import Any

from research.ablation.report.captions import SIMPLE
from research.ablation.report.entries import Column, Entry, ReportTable
from research.ablation.report.formats.axis import Axis, forest_axis, pairs_axis
from research.ablation.report.layout import column_scale, count_text, difference_text
from research.ablation.report.numbers import plural
from research.training.storage.files import partial_file

GREY, GRID, WARNING = "#6c757e", "#e3e6e8", "#8a5a00"
COLOURS = {"better": "#0a5fb4", "worse": "#b1430b", "different": "#6a4bb0", "equivalent": GREY, "open": GREY}
ROW = 0.46  # inches


def picture(table: ReportTable, path: Path) -> None:
    """Draw what each study compares into a PNG: a forest plot on the left, paired seeds on the right."""
    from matplotlib.figure import Figure  # slow to import

    compared = [(index, column) for index, column in enumerate(table.columns) if column.primary]
    height = len(compared) * (ROW * max(len(table.lines) - 1, 1) + 1.7)
    figure = Figure(figsize=(10.5, height), layout="constrained", dpi=150)
    panels = figure.subplots(len(compared), 2, squeeze=False, width_ratios=(1.15, 1), gridspec_kw={"hspace": 0.12})
    for (index, column), (left, right) in zip(compared, panels, strict=True):
        baseline, *others = [(row.name, entry) for row in table.rows if (entry := row.entries[index]) is not None]
        entries = [entry for _, entry in others]
        simple = [(row.name, entry) for row in table.simple if (entry := row.entries[index]) is not None]
        names = [name for name, _ in (*others, *simple)]
        _draw_forest(left, entries, table, index)
        _draw_seeds(right, baseline[1], entries, [entry for _, entry in simple])
        for below, (_, entry) in enumerate(simple, start=len(others)):
            _write_beside(left, below, f"{column_scale(table, index).text(entry.mean)}, not tested", GREY)
        left.set_yticks(range(len(names)), [textwrap.fill(name, 34) for name in names], fontsize=9)
        for label in left.get_yticklabels():
            label.set_parse_math(False)  # a name may have a dollar sign
        right.set_yticks([])
        for axes, (head, explanation) in zip((left, right), _headings(column), strict=True):
            study = f"{column.study}\n" if len(table.studies) > 1 else ""
            _dress(axes, len(names), study + head, explanation)
    if table.simple:
        figure.supxlabel(SIMPLE, x=0.01, ha="left", fontsize=8, color=GREY)
    with partial_file(path) as partial:
        figure.savefig(partial, format="png")


def _headings(column: Column) -> tuple[tuple[str, str], tuple[str, str]]:
    """Return the titles of both panels, and what is drawn in them."""
    name = f"{column.split} {column.metric}"
    better = {True: ", more is better", False: ", less is better", None: ""}[column.maximize]
    return (
        (
            f"Difference to the baseline in {name}",
            f"mean and 95 % t interval over {plural(len(column.seeds), 'seed')}{better}; arrow: far away;\n"
            f"coloured: Holm p < {column.alpha:g} over {plural(column.tests, 'cell')}",
        ),
        (f"{name}: baseline above, cell below", "a line joins what has the same seed;\na tick is a mean"),
    )


def _draw_forest(axes: Any, entries: list[Entry], table: ReportTable, index: int) -> None:
    """Draw the mean difference of every cell with its interval."""
    margin, scale = table.columns[index].margin, column_scale(table, index)
    along = forest_axis(entries, margin)
    axes.set_xlim(along.low, along.high)
    axes.axvline(0, color=GREY, linewidth=1.2, zorder=0)
    if margin is not None:
        axes.axvspan(-margin, margin, color=GREY, alpha=0.15, zorder=0, linewidth=0)
    for height, entry in enumerate(entries):
        colour = COLOURS[entry.verdict or "open"]
        if entry.comparison is not None:
            axes.plot(entry.comparison.interval, (height, height), color=colour, linewidth=2.5, solid_capstyle="butt")
            _draw_mean(axes, along, entry.comparison.difference, height, colour)
        _write_beside(axes, height, difference_text(entry, scale), colour)


def _draw_seeds(axes: Any, baseline: Entry, entries: list[Entry], simple: list[Entry]) -> None:
    """Draw every seed of every cell, joined to the baseline's, and below them those of simple baselines."""
    along = pairs_axis(baseline, entries)
    axes.set_xlim(along.low, along.high)
    for height, entry in enumerate(entries):
        colour, top, bottom = COLOURS[entry.verdict or "open"], height - 0.24, height + 0.24
        for seed in baseline.values.keys() & entry.values.keys():
            a, b = baseline.values[seed], min(max(entry.values[seed], along.low), along.high)
            axes.plot((a, b), (top, bottom), color=colour, linewidth=0.8, alpha=0.6)
        for shown, at, shade in ((baseline, top, GREY), (entry, bottom, colour)):
            _draw_values(axes, along, shown, at, shade)
    for height, entry in enumerate(simple, start=len(entries)):
        _draw_values(axes, along, entry, height, GREY)
    for height, entry in enumerate((*entries, *simple)):
        if entry.n < entry.planned:
            _write_beside(axes, height, f"n = {count_text(entry)}", WARNING)


def _draw_values(axes: Any, along: Axis, entry: Entry, height: float, colour: str) -> None:
    """Draw the values of an entry as dots, and their mean as a tick, or as an arrow where it is far away."""
    values = [value for value in entry.values.values() if not along.beyond(value)]
    axes.scatter(values, [height] * len(values), s=14, color=colour, alpha=0.5, linewidths=0, zorder=3)
    if along.beyond(entry.mean):
        _draw_mean(axes, along, entry.mean, height, colour)
    else:
        axes.plot([entry.mean] * 2, [height - 0.13, height + 0.13], color=colour, linewidth=2, zorder=4)


def _draw_mean(axes: Any, along: Axis, value: float, height: float, colour: str) -> None:
    """Draw a mean as a dot, or as an arrow at the end of the axis that it lies beyond."""
    if side := along.beyond(value):
        end = along.low if side < 0 else along.high
        axes.plot(end, height, "<" if side < 0 else ">", color=colour, markersize=7, clip_on=False)
    else:
        axes.plot(value, height, "o", color=colour, markersize=5)


def _write_beside(axes: Any, height: float, text: str, colour: str) -> None:
    """Write to the right of a row."""
    style = {"va": "center", "fontsize": 8, "color": colour}
    place = {"xycoords": ("axes fraction", "data"), "xytext": (6, 0), "textcoords": "offset points"}
    axes.annotate(text, (1, height), **place, **style)


def _dress(axes: Any, rows: int, head: str, explanation: str) -> None:
    """Set a panel's title, and what is the same in all of them."""
    axes.set_title(head, loc="left", fontsize=10, fontweight="bold", pad=32, parse_math=False)
    place = {"xycoords": "axes fraction", "xytext": (0, 6), "textcoords": "offset points"}
    axes.annotate(explanation, (0, 1), **place, fontsize=8, color=GREY)
    axes.set_ylim(max(rows, 1) - 0.5, -0.5)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0, pad=8)
    axes.tick_params(axis="x", labelsize=8, color=GREY)
    axes.locator_params(axis="x", nbins=5)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
