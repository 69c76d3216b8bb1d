"""The command `report`: what a study found, in files and on the terminal."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from research.ablation.design.study import Test
from research.ablation.store.study_folder import Store
from research.cli.tables import console, plain


@dataclasses.dataclass(frozen=True)
class Report:
    """Write the report of a study as Markdown, CSV, LaTeX, HTML and PNG, and show its table."""

    workdir: tuple[str, ...]
    """Folder of the study; several for one table of several studies."""
    output: str | None = None
    """Folder to write to; default: the study's, or report/ for several."""
    test: Literal["t", "permutation"] | None = None
    """Which p decides: the paired t test's or the sign-flip permutation test's; default: as the study plans."""
    title: str | None = None
    """What the report is called; default: as the study says, else the name of its folder."""
    smoke: bool = False
    """Taken as by every command; the folder says what it holds."""


def report(arguments: Report, known: set[type]) -> None:
    """Write and show the report of one study, or one of several."""
    stores = [Store(folder, known) for folder in arguments.workdir]
    present(stores, arguments.output, arguments.title or "", arguments.test)


def present(stores: Sequence[Store], output: str | None = None, title: str = "", test: Test | None = None) -> None:
    """Write a report and show its table, what it found and where it is."""
    from research.ablation.report import report_on

    found, table = report_on(stores, output, title, test), plain()
    shown = found.brief()
    for heading in shown.headings:
        table.add_column(heading.stacked, justify="right" if heading.numeric else "left", overflow="fold")
    for row in shown.rows:
        table.add_row(*(item.text for item in row))
    printed = console()
    printed.print(table)
    for line in found.lines():
        printed.print(line, soft_wrap=True)
    print("look at:")
    for path in found.paths:
        print(f"  {path}")
