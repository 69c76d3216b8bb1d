"""A table as Markdown (GitHub's dialect)."""

import re
from collections.abc import Iterator

from research.ablation.report.captions import aliases_text, caption, findings, notes
from research.ablation.report.entries import Receipt, ReportTable
from research.ablation.report.layout import Item, layout
from research.ablation.report.numbers import ABSENT

NUMBERS = re.compile(r"[\d\s.,±−+–\[\]<%×-]*")  # nothing here means anything to Markdown inside a table


def escape(text: str) -> str:
    """Return text that Markdown shows as it is, on one line."""
    return re.sub(r"^(\d*)([-+=:.)])", r"\1\\\2", escape_inside(text))  # else a list or a rule, at the start of a line


def escape_inside(text: str) -> str:
    """Return text that Markdown shows as it is, where it does not begin a line; numbers stay readable as they are."""
    text = " ".join(text.split())
    return text if NUMBERS.fullmatch(text) else re.sub(r"([\\`*_\[\]<>|~$&#])", r"\\\1", text)


def markdown(table: ReportTable) -> str:
    """Return the report as Markdown: findings, table, caption, notes and where the numbers come from."""
    return "\n".join(_lines(table)) + "\n"


def _lines(table: ReportTable) -> Iterator[str]:
    """Yield the lines of the report."""
    yield f"# {escape(table.title or 'Ablation')}"
    if table.description:
        yield from ("", escape(table.description))
    for sentence, *lines in findings(table):
        yield from ("", escape(sentence), "", *(f"- {escape(line)}" for line in lines))
    shown = layout(table)
    heads = [f"{heading.group}: {heading.text}" if heading.group else heading.text for heading in shown.headings]
    yield ""
    yield _line([escape(head) for head in heads])
    yield _line(["---:" if heading.numeric else ":---" for heading in shown.headings])
    for items in shown.rows:
        yield _line([_item(item) for item in items])
    for line in caption(table):
        yield from ("", escape(line))
    remarks = [
        *(f"{row.name} is {aliases_text(row)}." for row in table.rows if row.aliases),
        *(f"{row.name} is tuned to {row.tuned}." for row in table.rows if row.tuned),
        *notes(table),
    ]
    if remarks:
        yield from ("", "## Notes", "", *(f"- {escape(remark)}" for remark in remarks))
    yield from ("", "## Receipts", "")
    yield _line(["variant", "study", "fingerprint", "seeds", "mode", "device", "commit", "code", "versions"])
    yield _line([":---"] * 9)
    for row in table.lines:
        for receipt in row.receipts:
            yield _line([escape(text) or ABSENT for text in (row.name, *receipt_texts(receipt))])


def receipt_texts(receipt: Receipt) -> tuple[str, ...]:
    """Return study, fingerprint, seeds, modes, devices, commits, codes and versions of a receipt as text."""
    return (
        receipt.study,
        receipt.fingerprint,
        " ".join(map(str, receipt.seeds)),
        *("; ".join(values) for values in (receipt.modes, receipt.devices, receipt.commits)),
        *("; ".join(values) for values in (receipt.codes, receipt.versions)),
    )


def _item(item: Item) -> str:
    """Return an item, bold where it is a claim."""
    text = escape_inside(item.text)
    return f"**{text}**" if item.marked else text


def _line(items: list[str]) -> str:
    """Return a line of a table."""
    return f"| {' | '.join(items)} |"
