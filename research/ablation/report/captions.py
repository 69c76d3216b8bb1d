"""What a report says in sentences: a caption to paste, what was found, and what to know before believing it."""

import math
import statistics
from collections.abc import Iterator, Sequence
from typing import Any

from research.ablation.report.doubts import diverging, doubts
from research.ablation.report.entries import TESTS, Column, Entry, Receipt, ReportTable, Row
from research.ablation.report.layout import column_name, count_text, verdict_text
from research.ablation.report.numbers import decimals_text, plural

SIMPLE = "†: a simple baseline; no test compares it with a cell."


def caption(table: ReportTable) -> tuple[str, ...]:
    """Return lines for below a table: what the numbers are, what was tested and corrected, and what was not."""
    first = (
        f"{_seeds(table.columns)}; a mean is over the n seeds that ended with a finite value, ± is half of its 95 % t "
        "interval; Δ is the mean paired difference to the baseline over the seeds that both have, with its 95 % t "
        "interval, not corrected for the number of cells."
    )
    second = (
        "p: two-sided paired t test and sign-flip permutation test (exact up to 16 seeds); Holm's correction of the "
        f"{' or '.join(TESTS[test] for test in _same(table, 'test'))} p over the {_counts(table.columns)} compared, "
        f"within each metric; bold: corrected p < {_alphas(table)}."
    )
    third = (
        "Verdict: better, worse, different or equivalent where the test says so and no run is missing; open: nothing "
        "is claimed, which is no evidence of equality. dz: Δ in standard deviations of the paired differences. "
        "P(better): share of seeds in which the cell is better than the baseline, a tie counting half."
    )
    fourth = (
        "†: a simple baseline, fitted to the same splits and judged by the same metrics, once unless it draws random "
        "numbers; no test compares it with a cell."
    )
    return (first, second, third, fourth) if table.simple else (first, second, third)


def legend(table: ReportTable) -> tuple[str, ...]:
    """Return lines for below the columns that `TextTable.brief` keeps: what they are, in short."""
    tests = " or ".join(TESTS[test] for test in _same(table, "test"))
    first = (
        f"{_seeds(table.columns)}; ±: half of a 95 % t interval; Δ: mean paired difference to the baseline, with its "
        f"95 % t interval; p: {tests} test, corrected by Holm over {_counts(table.columns)}; open: nothing is claimed."
    )
    return (first, SIMPLE) if table.simple else (first,)


def findings(table: ReportTable) -> tuple[tuple[str, ...], ...]:
    """Return for each study how many cells differ, in a sentence, and which, in a line for each verdict."""
    return tuple(
        _finding(table, index, column) for index, column in enumerate(table.columns) if column.primary and column.tests
    )


def minimum_seeds_sentence(column: Column) -> str:
    """Return how many seeds a claim takes at least."""
    if column.floor is None:
        return "No cell could be compared with the baseline."
    enough = (
        "has as many"
        if len(column.seeds) >= column.floor
        else f"has {len(column.seeds)}, so that test can make no claim"
    )
    return (
        f"With fewer than {column.floor} seeds no exact permutation test of {plural(column.tests, 'cell')}, corrected "
        f"by Holm, can go below {column.alpha:g}, whatever the differences; this study {enough}. The paired t test has "
        "no such floor, because it takes the differences to be normal."
    )


def notes(table: ReportTable) -> tuple[str, ...]:
    """Return what to know before believing a table: losses, errors, power, pairing, margins."""
    several = len(table.studies) > 1
    lines: list[str] = []
    for index, column in enumerate(table.columns):
        if column.primary:
            prefix = f"{column.study}: " if several else ""
            entries = [(row, row.entries[index]) for row in table.rows]
            present = [(row, entry) for row, entry in entries if entry is not None]
            lines += [prefix + line for line in _notes(column, present)]
    for row in table.lines:
        for receipt in row.receipts:
            where = f"{receipt.study}: {row.name}" if several else row.name
            lines += [f"{where}, seed {seed}: {error}" for seed, error in receipt.errors.items()]
    for study in table.studies:
        receipts = [receipt for row in table.rows for receipt in row.receipts if receipt.study == study]
        lines += [f"{study}: {line}" if several else line for line in _mixtures(receipts)]
    return (*lines, *table.remarks)


def doubtful(table: ReportTable) -> tuple[str, ...]:
    """Return where a verdict is withheld or doubtful, and what else to know besides what the entries say."""
    lines: list[str] = []
    for index, column in enumerate(table.columns):
        if column.primary:
            lines += doubts(column, [(row, entry) for row in table.rows if (entry := row.entries[index]) is not None])
    return (*lines, *table.remarks)


def aliases_text(row: Row) -> str:
    """Return which other names a row stands for."""
    return f"the same experiment as {'; '.join(row.aliases)}" if row.aliases else ""


def _notes(column: Column, entries: Sequence[tuple[Row, Entry]]) -> Iterator[str]:
    """Yield what to know about the column that a study compares."""
    baseline = entries[0][1]
    if not any(entry.n for _, entry in entries):
        yield "No run has finished with a finite value yet."
        return
    if not baseline.n:
        yield f"The baseline has no finite value ({count_text(baseline)}), so nothing can be compared."
    if len(column.seeds) == 1:
        yield "One seed gives no interval and no test; Study(seeds=8) is a good beginning."
    if len(entries) == 1:
        yield "The study has no cell besides the baseline."
    for row, entry in entries:
        if entry.n < entry.planned:
            rest = "; mean and tests are of the rest" if entry.n else ""
            yield f"{row.name}: n = {count_text(entry)}{rest}."
    yield from doubts(column, entries)
    if column.tests:
        yield minimum_seeds_sentence(column)
        yield from _pairing([entry for _, entry in entries])
    if column.margin is not None and column.tests:
        looks = max(len(column.looks), 1)
        also = f" and {looks} looks" if looks > 1 else ""
        yield (
            f"Equivalent means that a t interval of level {1 - 2 * column.alpha / column.tests / looks:.4g}, which is "
            f"two one-sided tests at {column.alpha:g} corrected for {plural(column.tests, 'cell')}{also}, lies within "
            f"±{column.margin:g}; of equal differences, which have no interval, the exact tests decide."
        )


def _mixtures(receipts: Sequence[Receipt]) -> Iterator[str]:
    """Yield in what the runs of a study differ besides what it varies."""
    for what in ("modes", "devices", "commits", "versions"):
        found = list(dict.fromkeys(value for receipt in receipts for value in getattr(receipt, what)))
        if len(found) > 1:
            yield f"The runs have different {what} ({'; '.join(found)}), which by itself changes numbers a little."
    if any(commit.endswith("-dirty") for receipt in receipts for commit in receipt.commits):
        yield "Some runs are of code with changes that no commit has."


def _pairing(entries: Sequence[Entry]) -> Iterator[str]:
    """Yield whether pairing by seed paid, judged by the median cell."""
    correlations = [entry.comparison.correlation for entry in entries if entry.comparison is not None]
    correlations = sorted(value for value in correlations if math.isfinite(value))
    ratios = [entry.variance_ratio for entry in entries if math.isfinite(entry.variance_ratio)]
    if correlations and ratios:
        ratio = statistics.median(ratios)
        yield (
            f"Correlation with the baseline over seeds: median {decimals_text(statistics.median(correlations))}, from "
            f"{decimals_text(correlations[0])} to {decimals_text(correlations[-1])}. The variance of a paired "
            f"difference is {decimals_text(ratio)} times that of an unpaired one (median), so pairing "
            f"{'pays' if ratio < 1 else 'did not pay'}."
        )


def _finding(table: ReportTable, index: int, column: Column) -> tuple[str, ...]:
    """Return what a study may claim."""
    name = column_name(table, column).rstrip(" ↑↓")
    named: dict[str, list[str]] = {}
    for row in table.rows:
        entry = row.entries[index]
        if entry is not None and entry.verdict not in (None, "open"):
            named.setdefault(verdict_text(entry), []).append(row.name)
    entries = [(row, entry) for row in table.rows if (entry := row.entries[index]) is not None]
    marked = sum(entry.marked for _, entry in entries)
    compared = f"{plural(column.tests, 'cell')} compared with the baseline in {name}"
    first = (
        f"{marked} of {compared} {'differs' if marked == 1 else 'differ'} significantly (Holm p < {column.alpha:g})"
        if marked
        else f"0 of {compared} differ significantly (Holm p < {column.alpha:g}), which is no evidence of equality"
    )
    if len(column.seeds) == 1:
        first = f"With one seed nothing can be tested: of {compared} any difference may be chance"
    elif lost := sum(entry.lost > 0 for _, entry in entries):
        first += f"; of {plural(lost, 'cell')} nothing is claimed, as runs are missing"
    lines = [f"{verdict.capitalize()}: {'; '.join(named[verdict])}." for verdict in sorted(named)]
    return (f"{first}.", *lines, *diverging(column, entries))


def _seeds(columns: Sequence[Column]) -> str:
    """Return how many seeds every cell should have."""
    numbers = sorted({len(column.seeds) for column in columns})
    return " or ".join(map(str, numbers)) + (" seed a cell" if numbers == [1] else " seeds a cell")


def _counts(columns: Sequence[Column]) -> str:
    """Return over how many cells p-values are corrected."""
    numbers = sorted({column.tests for column in columns})
    return " or ".join(map(str, numbers)) + (" cell" if numbers == [1] else " cells")


def _alphas(table: ReportTable) -> str:
    """Return the levels of the claims."""
    return " or ".join(f"{alpha:g}" for alpha in _same(table, "alpha"))


def _same(table: ReportTable, field: str) -> list[Any]:
    """Return every value that a field of the columns has, once."""
    return list(dict.fromkeys(getattr(column, field) for column in table.columns))
