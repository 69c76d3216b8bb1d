"""A report as one HTML file that needs nothing else: no network, no fonts, no libraries."""

import math
from collections.abc import Iterator, Sequence
from html import escape

from research.ablation.report.axis import forest_axis, pairs_axis
from research.ablation.report.captions import aliases_text, caption, findings, notes
from research.ablation.report.html.drawing import (
    axis_strip,
    curve_axes,
    curve_panel,
    forest_strip,
    pairs_strip,
    values_strip,
)
from research.ablation.report.html.style import CSS, SCRIPT
from research.ablation.report.layout import (
    Heading,
    Item,
    column_name,
    column_scale,
    count_text,
    difference_text,
    layout,
)
from research.ablation.report.learning_curves import Curves
from research.ablation.report.markdown import receipt_texts
from research.ablation.report.numbers import Scale, plural
from research.ablation.report.tables import Column, Entry, Row, Table


def page(table: Table, curves: Sequence[Curves] = ()) -> str:
    """Return the report as HTML: findings, forest plot, table, paired dots, learning curves, notes, receipts."""
    return "\n".join(_page(table, curves)) + "\n"


def _page(table: Table, curves: Sequence[Curves]) -> Iterator[str]:
    """Yield the document."""
    title = escape(table.title or "Ablation")
    yield '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    # Nothing is ever loaded, whatever a name may say.
    policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    yield f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    yield f"<title>{title}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>"
    yield f"<h1>{title}</h1>"
    if table.description:
        yield f'<p class="soft">{escape(table.description)}</p>'
    yield from _facts(table)
    for sentence, *lines in findings(table):
        items = "".join(f"<li>{escape(line)}</li>" for line in lines)
        yield f'<div class="finding"><p>{escape(sentence)}</p><ul>{items}</ul></div>'
    several = len(table.studies) > 1
    for index, column in enumerate(table.columns):
        if column.primary and column.tests:
            yield from _forest(table, index, column, several)
    yield from _table(table)
    for index, column in enumerate(table.columns):
        if column.primary and column.tests:
            yield from _pairs(table, index, column, several)
    for study in curves:
        yield from _curves(study, several)
    remarks = notes(table)
    if remarks:
        yield "<h2>Notes</h2>\n<ul>"
        yield from (f"<li>{escape(remark)}</li>" for remark in remarks)
        yield "</ul>"
    yield from _receipts(table)
    yield f"</main>\n<script>{SCRIPT}</script>\n</body>\n</html>"


def _facts(table: Table) -> Iterator[str]:
    """Yield what was run, in a few words."""
    yield '<dl class="facts">'
    for index, column in enumerate(table.columns):
        if not column.primary:
            continue
        entries = [entry for row in table.rows if (entry := row.entries[index]) is not None]
        lost = [
            (sum(len(getattr(entry, what)) for entry in entries), what) for what in ("diverged", "failed", "missing")
        ]
        finished = f"{sum(entry.n for entry in entries)} of {sum(entry.planned for entry in entries)} finished"
        trials = ", ".join([finished, *(f"{count} {what}" for count, what in lost if count)])
        facts = (
            ("compared", column_name(table, column)),
            ("cells", f"{len(entries)}, the baseline included"),
            ("seeds a cell", str(len(column.seeds))),
            ("runs", trials),
            ("significance", f"Holm p < {column.alpha:g}, over {plural(column.tests, 'cell')}"),
            *([("margin", f"±{column.margin:g}")] if column.margin is not None else []),
        )
        yield from (f"<div><dt>{escape(term)}</dt><dd>{escape(text)}</dd></div>" for term, text in facts)
    yield "</dl>"


def _forest(table: Table, index: int, column: Column, several: bool) -> Iterator[str]:
    """Yield the forest plot of a column."""
    scale, (baseline, *rows) = column_scale(table, index), [(row, row.entries[index]) for row in table.rows]
    along = forest_axis([entry for _, entry in rows], column.margin)
    yield f"<h2>Differences to the baseline{_of(column, several)}</h2>\n<figure>"
    yield '<div class="strips">'
    for row, entry in rows:
        if entry is not None:
            strip = forest_strip(entry, along, column, scale, row.name)
            yield _strip(escape(row.name), strip, _difference(entry, scale))
    direction = {True: "more is better →", False: "← less is better", None: ""}[column.maximize]
    yield _strip("", axis_strip(along, scale.power, signed=True), escape(direction), "axis")
    yield "</div>"
    unit = f" ({scale.unit})" if scale.unit else ""
    margin = " The shaded band is the margin within which differences count as none." if column.margin else ""
    yield (
        f"<figcaption>Dot: mean paired difference in {escape(column.split)} {escape(column.metric)}{unit}, cell minus "
        f"baseline, which is the line at 0 (baseline mean {escape(_mean(baseline[1], scale))}). Bar: its 95 % t "
        "interval, for each cell by itself. Coloured: significant by "
        f"Holm, p &lt; {column.alpha:g}; blue is better, orange worse; grey: no claim. Arrow: too far away to be "
        f"drawn.{margin}</figcaption>"
    )
    yield "</figure>"


def _pairs(table: Table, index: int, column: Column, several: bool) -> Iterator[str]:
    """Yield the values of every seed in a column, joined to the baseline's."""
    scale, (first, *rows) = column_scale(table, index), [(row, row.entries[index]) for row in table.rows]
    baseline = first[1]
    if baseline is None:
        return
    along = pairs_axis(baseline, [entry for _, entry in rows])
    yield f"<h2>Every seed{_of(column, several)}</h2>\n<figure>"
    yield '<div class="strips">'
    for row, entry in rows:
        if entry is not None:
            kind = ' class="warns"' if entry.n < entry.planned else ""
            number = f"{escape(scale.text(entry.mean))}<span{kind}>, n = {escape(count_text(entry))}</span>"
            yield _strip(escape(row.name), pairs_strip(entry, baseline, along, scale, row.name), number)
    for row in table.simple:
        if (entry := row.entries[index]) is not None:
            number = f"{escape(scale.text(entry.mean))}, n = {escape(count_text(entry))}"
            yield _strip(escape(row.name), values_strip(entry, along, scale, row.name), number)
    yield _strip("", axis_strip(along, scale.power, signed=False), "", "axis")
    yield "</div>"
    unit = f" ({scale.unit})" if scale.unit else ""
    yield (
        f"<figcaption>{escape(column.split)} {escape(column.metric)}{unit}: upper dots are the baseline's seeds, lower "
        "dots the cell's; a line joins what has the same seed, a tick is a mean, an arrow one too "
        "far away to be drawn. Parallel lines are seeds that agree on the difference.</figcaption>\n</figure>"
    )


def _curves(study: Curves, several: bool) -> Iterator[str]:
    """Yield a panel of learning curves a cell."""
    drawn = [curve for curve in study.curves if len(curve.steps) > 1]
    if not drawn:
        return
    across, up = curve_axes(drawn)
    baseline = next((curve for curve in drawn if curve.name == "baseline"), None)
    of = f" of {escape(study.study)}" if several else ""
    yield f'<h2>Learning curves{of}</h2>\n<figure>\n<div class="panels">'
    for curve in drawn:
        yield f"<div><h4>{escape(curve.name)}, n = {curve.n}</h4>{curve_panel(curve, baseline, across, up)}</div>"
    yield "</div>"
    yield (
        f"<figcaption>{escape(study.split)} {escape(study.metric)} over training steps. Line: mean over the n seeds "
        "whose run finished. Band: 95 % t interval of the mean. Grey: the baseline. Runs that diverged or failed are "
        "not drawn, and the first fifth of training may lie outside the panel."
        f"{' The vertical axis is logarithmic.' if up.logarithmic else ''}</figcaption>\n</figure>"
    )


def _table(table: Table) -> Iterator[str]:
    """Yield the table, with headings that sort it."""
    shown = layout(table)
    yield '<h2>All cells</h2>\n<div class="scroll" tabindex="0" role="region" aria-label="All cells"><table>\n<thead>'
    groups = list(shown.groups())
    if any(name for name, _, _ in groups):
        heads = (f'<th colspan="{last - first + 1}">{escape(name)}</th>' for name, first, last in groups)
        yield f'<tr class="groups">{"".join(heads)}</tr>'
    yield f"<tr>{''.join(map(_head, shown.headings))}</tr>\n</thead>\n<tbody>"
    for index, (row, items) in enumerate(zip(table.lines, shown.rows, strict=True)):
        cells = zip(shown.headings[1:], items[1:], strict=True)
        yield f'<tr data-index="{index}">{_row_head(row, items[0])}{"".join(_cell(*pair) for pair in cells)}</tr>'
    yield "</tbody>\n</table></div>"
    yield f'<p class="caption">{"<br>".join(map(escape, caption(table)))}</p>'


def _head(heading: Heading) -> str:
    """Return a heading that sorts."""
    kind = ' class="numeric"' if heading.numeric else ""
    button = f'<button type="button">{escape(heading.text)}</button>'
    return f'<th scope="col"{kind} title="{escape(heading.help)}">{button}</th>'


def _row_head(row: Row, item: Item) -> str:
    """Return the name of a row, with what else it is called and was tuned to."""
    remarks = [aliases_text(row), f"tuned: {row.tuned}" if row.tuned else ""]
    small = "".join(f"<small>{escape(remark)}</small>" for remark in remarks if remark)
    kind = ' class="marked"' if item.marked else ""
    return f'<th scope="row"{kind} data-value="{escape(str(item.value))}">{escape(item.text)}{small}</th>'


def _cell(heading: Heading, item: Item) -> str:
    """Return an item of a row."""
    verdict = str(item.value) if not heading.numeric and item.marked else ""
    kinds = [
        name for name, holds in (("numeric", heading.numeric), ("marked", item.marked), ("warns", item.warns)) if holds
    ] + ([verdict] if verdict else [])
    value = "" if isinstance(item.value, float) and math.isnan(item.value) else str(item.value)
    return f'<td class="{" ".join(kinds)}" data-value="{escape(value)}">{escape(item.text)}</td>'


def _receipts(table: Table) -> Iterator[str]:
    """Yield where the numbers come from."""
    heads = ("variant", "overrides", "study", "fingerprint", "seeds", "mode", "device", "commit", "versions")
    yield '<details><summary>Receipts: what to run to have any number again</summary>\n<div class="scroll">'
    yield f'<table class="receipts">\n<thead><tr>{"".join(f"<th>{head}</th>" for head in heads)}</tr></thead>\n<tbody>'
    for row in table.lines:
        for receipt in row.receipts:
            overrides = "; ".join(f"{path}={value}" for path, value in receipt.overrides.items())
            texts = (overrides, *receipt_texts(receipt))
            items = "".join(f"<td>{escape(text)}</td>" for text in texts)
            yield f'<tr><th scope="row">{escape(row.name)}</th>{items}</tr>'
    yield "</tbody>\n</table></div></details>"


def _strip(name: str, drawing: str, number: str, kind: str = "") -> str:
    """Return a line of a figure: name, drawing, number."""
    return (
        f'<div class="strip {kind}"><span class="name">{name}</span>{drawing}<span class="number">{number}</span></div>'
    )


def _difference(entry: Entry, scale: Scale) -> str:
    """Return the mean difference and its interval, in the colour of the verdict."""
    if entry.comparison is None:
        return f'<span class="warns">n = {escape(count_text(entry))}</span>'
    return f'<span class="{entry.verdict}">{escape(difference_text(entry, scale))}</span>'


def _mean(entry: Entry | None, scale: Scale) -> str:
    """Return the mean of an entry."""
    return scale.text(math.nan if entry is None else entry.mean)


def _of(column: Column, several: bool) -> str:
    """Return which study a heading is of, where there are several."""
    return f" in {escape(column.study)}" if several else ""
