"""A table as text: headings and items, which Markdown, LaTeX and HTML only have to escape and set."""

import dataclasses
import math
from collections.abc import Iterator
from itertools import compress

from research.ablation.report.entries import TESTS, Column, Entry, ReportTable, Row
from research.ablation.report.numbers import ABSENT, Scale, decimals_text, p_text, plural, scale


@dataclasses.dataclass(frozen=True)
class Heading:
    """What stands above a column."""

    text: str
    group: str = ""
    """What stands above several columns side by side; "" for nothing."""
    help: str = ""
    """What the numbers are."""
    numeric: bool = True
    essential: bool = False
    """Whether it is shown where there is no room for all."""
    detail: bool = False
    """Whether it is left out of what a terminal or a notebook shows."""

    @property
    def stacked(self) -> str:
        """The text below that of the group."""
        return f"{self.group}\n{self.text}" if self.group else self.text


@dataclasses.dataclass(frozen=True)
class Item:
    """What stands in a column of a row."""

    text: str = ABSENT
    value: float | str = math.nan
    """What to sort by."""
    marked: bool = False
    """Whether it is set bold: a claim."""
    warns: bool = False
    """Whether runs are missing from it."""


@dataclasses.dataclass(frozen=True)
class TextTable:
    """Headings, and for each row as many items."""

    headings: tuple[Heading, ...]
    rows: tuple[tuple[Item, ...], ...]

    def brief(self) -> "TextTable":
        """Return the columns that a terminal or a notebook shows: no details, unless they are a group's."""
        kept = [bool(heading.group) or not heading.detail for heading in self.headings]
        return TextTable(tuple(compress(self.headings, kept)), tuple(tuple(compress(row, kept)) for row in self.rows))

    def groups(self) -> Iterator[tuple[str, int, int]]:
        """Yield each group of headings side by side with its first and last index."""
        start = 0
        for end, heading in enumerate(self.headings):
            if end + 1 == len(self.headings) or self.headings[end + 1].group != heading.group:
                yield heading.group, start, end
                start = end + 1


def layout(table: ReportTable) -> TextTable:
    """Return a table as text.

    A single study shows every test of the metric it compares; further metrics, and all of merged studies, show mean,
    difference and corrected p, and the rest is in the CSV.
    """
    scales = [column_scale(table, index) for index in range(len(table.columns))]
    several = len(table.studies) > 1
    headings = [Heading("variant", numeric=False, essential=True)]
    rows: list[list[Item]] = [[_name(table, row)] for row in table.lines]
    for index, (column, fitting) in enumerate(zip(table.columns, scales, strict=True)):
        full = column.primary and not several
        group = column_name(table, column) if len(table.columns) > 1 else ""
        counted = column.primary
        headings += _headings(column, fitting, full, counted, group)
        for items, row in zip(rows, table.lines, strict=True):
            items += _items(row.entries[index], column, fitting, full, counted)
    if not several:
        headings += [
            Heading("parameters", help="Trained numbers in the model.", detail=True),
            Heading("seconds", help="Mean wall time of a run, with compiling.", detail=True),
        ]
        for items, row in zip(rows, table.lines, strict=True):
            items += _costs(row)
    return TextTable(tuple(headings), tuple(map(tuple, rows)))


def column_scale(table: ReportTable, index: int) -> Scale:
    """Return how the values and the differences of a column are written."""
    entries = [row.entries[index] for row in table.rows]
    present = [entry for entry in entries if entry is not None]
    intervals = [entry.interval for entry in present]
    intervals += [entry.comparison.interval for entry in present if entry.comparison is not None]
    return scale((entry.mean for entry in present), ((high - low) / 2 for low, high in intervals))


def column_name(table: ReportTable, column: Column) -> str:
    """Return what a column holds, such as ``test accuracy ↑``; with its study where there are several."""
    arrow = {True: " ↑", False: " ↓", None: ""}[column.maximize]
    study = f"{column.study}: " if len(table.studies) > 1 else ""
    return f"{study}{column.split} {column.metric}{arrow}"


def count_text(entry: Entry) -> str:
    """Return how many values there are, and what became of the others: ``6 (2/8 diverged)``."""
    lost = [("diverged", entry.diverged), ("failed", entry.failed), ("missing", entry.missing)]
    rest = ", ".join(f"{len(seeds)}/{entry.planned} {what}" for what, seeds in lost if seeds)
    return f"{entry.n} ({rest})" if rest else str(entry.n)


def spread_text(entry: Entry, scale: Scale) -> str:
    """Return mean ± half the interval; the mean alone where there is no interval."""
    half = (entry.interval.high - entry.interval.low) / 2
    return scale.text(entry.mean) + (f" ± {scale.text(half)}" if math.isfinite(half) else "")


def interval_text(entry: Entry, scale: Scale) -> str:
    """Return the interval of the difference."""
    if entry.comparison is None or not math.isfinite(entry.comparison.interval.low):
        return ABSENT
    low, high = (scale.text(bound, signed=True) for bound in entry.comparison.interval)
    return f"[{low}, {high}]"


def difference_text(entry: Entry, scale: Scale) -> str:
    """Return the mean difference to the baseline with its interval, as far as there are such."""
    if entry.comparison is None:
        return "no difference"
    text, interval = scale.text(entry.comparison.difference, signed=True), interval_text(entry, scale)
    return text if interval == ABSENT else f"{text} {interval}"


def claim_text(entry: Entry, alpha: float) -> str:
    """Return what may be claimed of a cell, and by which p."""
    return f"{verdict_text(entry)}, p {p_text(entry.corrected_p, alpha)}"


def _headings(column: Column, scale: Scale, full: bool, counted: bool, group: str) -> Iterator[Heading]:
    """Yield the headings of a column's block."""
    unit = f" ({scale.unit})" if scale.unit else ""
    over = f"{TESTS[column.test]} p by Holm's correction over {plural(column.tests, 'cell')}"
    looks = f", and Bonferroni's over {len(column.looks)} looks" if column.looks else ""
    if counted:
        yield Heading("n", group, "Seeds with a finite value; all that a mean is taken over.")
    yield Heading(f"mean ± 95 %{unit}", group, "Mean over seeds, and half of its 95 % t interval.")
    delta = "Mean paired difference to the baseline, over the seeds that both have."
    yield Heading(f"Δ{unit}", group, delta, essential=True)
    yield Heading("95 % of Δ", group, "95 % t interval of the mean difference, for this cell by itself.")
    if full:
        yield Heading("p (t)", group, "Two-sided paired t test.", detail=True)
        permutation = "Two-sided sign-flip permutation test, exact up to 16 seeds."
        yield Heading("p (perm.)", group, permutation, detail=True)
    yield Heading("p (Holm)", group, f"{over}{looks}.", essential=True)
    if full:
        yield Heading("dz", group, "Mean difference in standard deviations of the differences.", detail=True)
        better = "Share of seeds in which the cell is better than the baseline; ties count half."
        yield Heading("P(better)", group, better, detail=True)
        yield Heading("verdict", group, "What may be claimed of the cell.", numeric=False, essential=True)


def _items(entry: Entry | None, column: Column, scale: Scale, full: bool, counted: bool) -> Iterator[Item]:
    """Yield the items of an entry, as many as `_headings` yields."""
    if entry is None:
        yield from [Item()] * len(list(_headings(column, scale, full, counted, "")))
        return
    comparison, bold = entry.comparison, entry.marked
    if counted:
        yield Item(count_text(entry), entry.n, warns=entry.n < entry.planned)
    yield Item(spread_text(entry, scale), entry.mean)
    if comparison is None:
        yield from [Item()] * (7 if full else 3)
    else:
        yield Item(scale.text(comparison.difference, signed=True), comparison.difference, bold)
        yield Item(interval_text(entry, scale), comparison.interval.low)
        if full:
            yield Item(p_text(comparison.t_p, column.alpha), comparison.t_p)
            yield Item(p_text(comparison.permutation_p, column.alpha), comparison.permutation_p)
        yield Item(p_text(entry.corrected_p, column.alpha), entry.corrected_p, bold)
        if full:
            yield Item(decimals_text(comparison.effect), comparison.effect)
            yield Item(decimals_text(comparison.better), comparison.better)
    if full:
        yield Item(verdict_text(entry), entry.verdict or "", bold, warns=entry.lost > 0)


def verdict_text(entry: Entry) -> str:
    """Return what may be claimed of a cell in words."""
    if entry.verdict is None:
        return ABSENT
    if entry.lost:
        return f"{entry.verdict}, {plural(entry.lost, 'pair')} missing"
    return f"{entry.verdict}, within the margin" if entry.marked and entry.equivalent else entry.verdict


def _name(table: ReportTable, row: Row) -> Item:
    """Return the name of a row, bold where the only study makes a claim of it."""
    marked = len(table.studies) == 1 and any(
        entry is not None and entry.marked and column.primary
        for entry, column in zip(row.entries, table.columns, strict=True)
    )
    return Item(row.name, row.name, marked)


def _costs(row: Row) -> tuple[Item, Item]:
    """Return the items of parameters and seconds."""
    (receipt,) = row.receipts
    parameters, seconds = receipt.parameters, receipt.seconds
    return (
        Item() if parameters is None else Item(f"{parameters:,}", parameters),
        Item(decimals_text(seconds, 1), seconds),
    )
