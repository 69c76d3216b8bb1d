"""A report as one HTML file that needs nothing else: no network, no fonts, no libraries.

The page stands in templates/page.html, its drawings in templates/drawing.html. Jinja2 escapes whatever is put into them
(`autoescape`), so that a name in a study, whatever is in it, is shown and never obeyed.
"""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2

from research.ablation.report.captions import aliases_text, caption, findings, notes
from research.ablation.report.entries import Column, Entry, Receipt, ReportTable, Row
from research.ablation.report.formats.axis import forest_axis, pairs_axis
from research.ablation.report.formats.markdown import receipt_texts
from research.ablation.report.html.drawing import Panel, Strip, panel_of
from research.ablation.report.layout import (
    Heading,
    Item,
    TextTable,
    claim_text,
    column_name,
    column_scale,
    count_text,
    difference_text,
    layout,
)
from research.ablation.report.learning_curves import Curve, Curves
from research.ablation.report.numbers import Scale, plural

FOLDER = Path(__file__).parent / "templates"

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(FOLDER),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
TEMPLATES.filters.update(count_text=count_text, difference_text=difference_text, claim_text=claim_text)
TEMPLATES.tests["finite"] = math.isfinite


class Figure(NamedTuple):
    """A column of the table as a strip for each cell, all along one axis."""

    of: str
    """Which study it is of, where there are several."""
    column: Column
    scale: Scale
    strip: Strip
    baseline: Entry | None
    cells: tuple[tuple[str, Entry], ...]
    """Name and entry of every other cell."""
    simple: tuple[tuple[str, Entry], ...] = ()
    """Those of the simple baselines, where they are drawn too."""


class Panels(NamedTuple):
    """The learning curves of a study, a panel for each cell."""

    of: str
    study: Curves
    panel: Panel
    baseline: Curve | None
    curves: tuple[Curve, ...]


class Cell(NamedTuple):
    """An item of the table, how it is set, and what it is sorted by."""

    text: str
    classes: str
    value: str


class Line(NamedTuple):
    """A row of the table: its name, what else it is called and was tuned to, and its cells."""

    name: Item
    remarks: tuple[str, ...]
    cells: tuple[Cell, ...]


def page(table: ReportTable, curves: Sequence[Curves] = ()) -> str:
    """Return the report as HTML: findings, forest plot, table, paired dots, learning curves, notes, receipts."""
    several = len(table.studies) > 1
    shown = layout(table)
    compared = [(index, column) for index, column in enumerate(table.columns) if column.primary and column.tests]
    return TEMPLATES.get_template("page.html").render(
        style=_read("style.css"),
        script=_read("sort.js"),
        title=table.title or "Ablation",
        description=table.description,
        facts=list(_facts(table)),
        findings=findings(table),
        forests=[_forest(table, index, column, several) for index, column in compared],
        pairs=[_pairs(table, index, column, several) for index, column in compared],
        groups=[(name, last - first + 1) for name, first, last in shown.groups()],
        headings=shown.headings,
        lines=_lines(table, shown),
        caption=caption(table),
        panels=[panels for study in curves if (panels := _panels(study, several)) is not None],
        notes=notes(table),
        receipts=[
            (row.name, _overrides(receipt), *receipt_texts(receipt)) for row in table.lines for receipt in row.receipts
        ],
    )


def _read(name: str) -> str:
    """Return a file of ours that is no template, as its braces mean something else."""
    return (FOLDER / name).read_text(encoding="utf-8")


def _facts(table: ReportTable) -> Iterator[tuple[str, str]]:
    """Yield what was run, in a few words."""
    for index, column in enumerate(table.columns):
        if not column.primary:
            continue
        entries = [entry for row in table.rows if (entry := row.entries[index]) is not None]
        lost = [
            (sum(len(getattr(entry, what)) for entry in entries), what) for what in ("diverged", "failed", "missing")
        ]
        finished = f"{sum(entry.n for entry in entries)} of {sum(entry.planned for entry in entries)} finished"
        yield "compared", column_name(table, column)
        yield "cells", f"{len(entries)}, the baseline included"
        yield "seeds a cell", str(len(column.seeds))
        yield "runs", ", ".join([finished, *(f"{count} {what}" for count, what in lost if count)])
        yield "significance", f"Holm p < {column.alpha:g}, over {plural(column.tests, 'cell')}"
        if column.margin is not None:
            yield "margin", f"±{column.margin:g}"


def _forest(table: ReportTable, index: int, column: Column, several: bool) -> Figure:
    """Return the forest plot of a column."""
    baseline, cells = _entries(table, index)
    strip = Strip(forest_axis([entry for _, entry in cells], column.margin))
    return Figure(_of(column.study, several), column, column_scale(table, index), strip, baseline, cells)


def _pairs(table: ReportTable, index: int, column: Column, several: bool) -> Figure | None:
    """Return the values of every seed in a column, joined to the baseline's; None without a baseline."""
    baseline, cells = _entries(table, index)
    if baseline is None:
        return None
    strip = Strip(pairs_axis(baseline, [entry for _, entry in cells]))
    rows = ((row.name, row.entries[index]) for row in table.simple)
    simple = tuple((name, entry) for name, entry in rows if entry is not None)
    return Figure(_of(column.study, several), column, column_scale(table, index), strip, baseline, cells, simple)


def _entries(table: ReportTable, index: int) -> tuple[Entry | None, tuple[tuple[str, Entry], ...]]:
    """Return the baseline's entry in a column, and name and entry of every other cell that has one."""
    baseline, *rows = table.rows
    cells = ((row.name, row.entries[index]) for row in rows)
    return baseline.entries[index], tuple((name, entry) for name, entry in cells if entry is not None)


def _panels(study: Curves, several: bool) -> Panels | None:
    """Return the learning curves of a study; None where there are none to draw."""
    drawn = tuple(curve for curve in study.curves if len(curve.steps) > 1)
    if not drawn:
        return None
    baseline = next((curve for curve in drawn if curve.name == "baseline"), None)
    return Panels(_of(study.study, several), study, panel_of(drawn), baseline, drawn)


def _lines(table: ReportTable, shown: TextTable) -> list[Line]:
    """Return the rows of the table."""
    return [
        Line(name, _remarks(row), tuple(map(_cell, shown.headings[1:], items)))
        for row, (name, *items) in zip(table.lines, shown.rows, strict=True)
    ]


def _remarks(row: Row) -> tuple[str, ...]:
    """Return what else a row is called and was tuned to."""
    remarks = (aliases_text(row), f"tuned: {row.tuned}" if row.tuned else "")
    return tuple(remark for remark in remarks if remark)


def _cell(heading: Heading, item: Item) -> Cell:
    """Return an item of a row."""
    verdict = str(item.value) if not heading.numeric and item.marked else ""
    classes = {"numeric": heading.numeric, "marked": item.marked, "warns": item.warns, verdict: bool(verdict)}
    classes["detail"] = not heading.essential
    value = "" if isinstance(item.value, float) and math.isnan(item.value) else str(item.value)
    return Cell(item.text, " ".join(name for name, holds in classes.items() if holds), value)


def _overrides(receipt: Receipt) -> str:
    """Return what a cell overrides, as flags name it."""
    return "; ".join(f"{path}={value}" for path, value in receipt.overrides.items())


def _of(study: str, several: bool) -> str:
    """Return which study a figure is of, where there are several."""
    return study if several else ""
