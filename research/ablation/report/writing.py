"""The files of a report."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from research.ablation.design.study import Test, plan
from research.ablation.report.captions import doubtful, findings, legend
from research.ablation.report.entries import ReportTable
from research.ablation.report.formats.latex import latex
from research.ablation.report.formats.markdown import markdown
from research.ablation.report.formats.picture import picture
from research.ablation.report.formats.spreadsheet import spreadsheet
from research.ablation.report.html.page import page
from research.ablation.report.layout import TextTable, layout
from research.ablation.report.learning_curves import Curves, curves
from research.ablation.report.simple import simple_rows
from research.ablation.report.tables import merge, table
from research.ablation.store.codes import of_one_code
from research.ablation.store.study_folder import Store, check_testable
from research.baselines import judgements
from research.errors import UsageError
from research.notebook import html_lines, html_table
from research.training.storage.files import write


@dataclasses.dataclass(frozen=True)
class StudyReport:
    """What one study or several found, and the files that say so."""

    table: ReportTable
    curves: tuple[Curves, ...]
    paths: tuple[Path, ...]

    def brief(self) -> TextTable:
        """Return the columns that a terminal or a notebook has room for."""
        return layout(self.table).brief()

    def lines(self) -> Iterator[str]:
        """Yield the sentences that stand below them: what was found, what to doubt, and what the numbers are."""
        for finding in findings(self.table):
            yield from finding
        yield from doubtful(self.table)
        yield from legend(self.table)

    def __str__(self) -> str:
        return markdown(self.table)

    def _repr_html_(self) -> str:
        """Return these columns and sentences for a notebook."""
        shown = self.brief()
        rows = [[item.text for item in row] for row in shown.rows]
        table = html_table([heading.stacked for heading in shown.headings], rows)
        return table + html_lines([*self.lines(), f"look at {self.paths[-2]}"])


def report_on(
    studies: str | Path | Store | Sequence[str | Path | Store],
    output: str | Path | None = None,
    title: str = "",
    test: Test | None = None,
) -> StudyReport:
    """Write the report of a study, as far as it has come, and return it; of several studies one of all.

    Args:
        studies: the folder of a study, or its store, as `ablate` returns it; a folder whose study has classes that this
            project does not export is opened by `Store(folder, {Class})`.
        output: the folder to write to; default: that of the study, report/ for several.
        title: what the report is called; default: as the study says, else the name of its folder.
        test: which p decides; default: as the study plans.

    Raises:
        UsageError: a folder holds a screening or a search, or `output` cannot be written.
        RunError: a folder holds no study, or its file is damaged.
    """
    each = [studies] if isinstance(studies, str | Path | Store) else studies
    stores = [study if isinstance(study, Store) else Store(study) for study in each]
    if len(stores) > 1:
        titles = [store.study.title for store in stores]
        alone = ["" if titles.count(own) == 1 else store.root.name for own, store in zip(titles, stores, strict=True)]
        found = [tabulate(store, name, test) for store, name in zip(stores, alone, strict=True)]
        shown = merge([table for table, _ in found], title)
    else:
        found = [tabulate(stores[0], title, test)]
        shown = found[0][0]
    learning = tuple(curves for _, curves in found)
    folder = output or (stores[0].root if len(stores) == 1 else "report")
    return StudyReport(shown, learning, write_report(folder, shown, learning))


def tabulate(store: Store, title: str = "", test: Test | None = None) -> tuple[ReportTable, Curves]:
    """Return the table and the learning curves of a study, as far as it has come, with the simple baselines there.

    `title` names it, by default as the study says, else after its folder; `test` is as of `table`. Raises `UsageError`
    for a screening or a search.
    """
    check_testable(store.root)
    title = title or store.study.title or store.root.name
    cells = store.cells() or plan(store.experiment, store.study)
    outcomes, remarks = of_one_code(store.outcomes())
    found = table(outcomes, cells, store.study, title, test)
    simple = simple_rows(judgements(store.baselines), found.columns, title)
    remarks = (*found.remarks, *store.history.remarks(store.study.seeds), *remarks)
    return dataclasses.replace(found, simple=simple, remarks=remarks), curves(outcomes, cells, store.study, title)


def write_report(folder: str | Path, table: ReportTable, curves: Sequence[Curves] = ()) -> tuple[Path, ...]:
    """Write report.md, .csv, .tex, .html and .png into `folder` and return their paths.

    Raises:
        UsageError: the folder cannot be written.
    """
    folder = Path(folder)
    texts = {"md": markdown(table), "csv": spreadsheet(table), "tex": latex(table), "html": page(table, curves)}
    paths = [folder / f"report.{ending}" for ending in (*texts, "png")]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in zip(paths, texts.values(), strict=False):
            write(path, text)
        picture(table, paths[-1])
    except OSError as error:
        raise UsageError(f"cannot write a report to {folder}: {error.strerror}; choose another folder") from error
    return tuple(paths)
