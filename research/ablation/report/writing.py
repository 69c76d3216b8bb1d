"""The files of a report."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from research.ablation.design.study import Test, plan
from research.ablation.report.entries import ReportTable
from research.ablation.report.html.page import page
from research.ablation.report.latex import latex
from research.ablation.report.learning_curves import Curves, curves
from research.ablation.report.markdown import markdown
from research.ablation.report.picture import picture
from research.ablation.report.simple import simple_rows
from research.ablation.report.spreadsheet import spreadsheet
from research.ablation.report.tables import table
from research.ablation.store.codes import of_one_code
from research.ablation.store.study_folder import Store, check_testable
from research.baselines import judgements
from research.errors import UsageError
from research.training.storage.files import write


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
