"""Values in a notebook, which shows what `_repr_html_` returns: small tables, in which every text is escaped."""

from collections.abc import Sequence
from html import escape

LEFT = ' style="text-align: left"'


def html_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as HTML; the first column names the rows, and a line break is one."""
    head = _row([_cell("th", text) for text in headings])
    body = [_row([_cell("th", first, LEFT), *(_cell("td", text) for text in rest)]) for first, *rest in rows]
    return f"<table><thead>{head}</thead><tbody>{''.join(body)}</tbody></table>"


def html_lines(lines: Sequence[str]) -> str:
    """Return sentences as HTML, a paragraph each."""
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _row(cells: Sequence[str]) -> str:
    return f"<tr>{''.join(cells)}</tr>"


def _cell(tag: str, text: str, style: str = "") -> str:
    return f"<{tag}{style}>{'<br>'.join(map(escape, text.splitlines()))}</{tag}>"
