"""The command `report`: what a study found, in files and on the terminal."""

import dataclasses
from pathlib import Path
from typing import Literal

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
    test: Literal["t", "permutation"] = "t"
    """Which p decides: the paired t test's, or the sign-flip permutation test's."""


def report(arguments: Report, known: set[type]) -> None:
    """Write and show the report of one study, or one of several."""
    stores = [Store(folder, known) for folder in arguments.workdir]
    output = arguments.output or (stores[0].root if len(stores) == 1 else "report")
    present(stores if len(stores) > 1 else stores[0], "", Path(output), test=arguments.test)


def present(
    stores: Store | list[Store], title: str, output: Path, remark: str = "", test: Literal["t", "permutation"] = "t"
) -> None:
    """Write a report and show its table, what it found and where it is."""
    from research.ablation.report import caption, findings, merge, tabulate, write_report
    from research.ablation.report.layout import layout

    found = [tabulate(store, title, test) for store in (stores if isinstance(stores, list) else [stores])]
    table = found[0][0] if len(found) == 1 else merge([table for table, _ in found])
    if remark:
        table = dataclasses.replace(table, remarks=(*table.remarks, remark))
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
    for line in (*caption(table), *(line for finding in findings(table) for line in finding), *table.remarks):
        printed.print(line, soft_wrap=True)
    print("look at:")
    for path in paths:
        print(f"  {path}")
