"""The command `report`: what a study found, in files and on the terminal."""

import dataclasses
from pathlib import Path
from typing import Literal

from research.ablation.design.study import Test
from research.ablation.store.study_folder import Store
from research.cli.tables import console, plain

SHOWN = ("variant", "n", "mean", "Δ", "95 % of Δ", "p (Holm)", "verdict")  # columns on the terminal


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
    output = arguments.output or (stores[0].root if len(stores) == 1 else "report")
    present(stores if len(stores) > 1 else stores[0], Path(output), arguments.title or "", arguments.test)


def present(stores: Store | list[Store], output: Path, title: str = "", test: Test | None = None) -> None:
    """Write a report and show its table, what it found and where it is."""
    from research.ablation.report import caption, doubtful, findings, merge, tabulate, write_report
    from research.ablation.report.layout import layout

    if isinstance(stores, list):
        titles = [store.study.title for store in stores]
        alone = ["" if titles.count(each) == 1 else store.root.name for each, store in zip(titles, stores, strict=True)]
        found = [tabulate(store, name, test) for store, name in zip(stores, alone, strict=True)]
        table = merge([table for table, _ in found], title)
    else:
        found = [tabulate(stores, title, test)]
        table = found[0][0]
    paths = write_report(output, table, [curves for _, curves in found])
    shape = layout(table)
    columns = [
        index for index, heading in enumerate(shape.headings) if heading.group or heading.text.split(" ±")[0] in SHOWN
    ]
    shown = plain()
    for index in columns:
        heading = shape.headings[index]
        text = f"{heading.group}\n{heading.text}" if heading.group else heading.text
        shown.add_column(text, justify="right" if heading.numeric else "left", overflow="fold")
    for row in shape.rows:
        shown.add_row(*(row[index].text for index in columns))
    printed = console()
    printed.print(shown)
    for line in (*caption(table), *(line for finding in findings(table) for line in finding), *doubtful(table)):
        printed.print(line, soft_wrap=True)
    print("look at:")
    for path in paths:
        print(f"  {path}")
