"""Simple baselines in a report: shown in every format, and with no effect on anything else."""

import csv
import dataclasses
import io
import math

import pytest
from matplotlib.figure import Figure

from research.ablation import Store, Study, one_at_a_time, plan
from research.ablation.report import caption, findings, merge, notes, table, tabulate, write_report
from research.ablation.report.formats.latex import latex
from research.ablation.report.formats.markdown import markdown
from research.ablation.report.formats.picture import picture
from research.ablation.report.formats.spreadsheet import spreadsheet
from research.ablation.report.html.page import page
from research.ablation.report.layout import layout
from research.ablation.report.simple import simple_rows
from research.ablation.store.study_folder import Outcome
from research.baselines import Judgement
from research.baselines.store import keep
from research.experiment import fingerprint

VALUES = {0: (0.5, 0.6, 0.7, 0.8), 1: (0.6, 0.8, 0.8, 1.0)}


def judged(name="counts", accuracy=0.625, seed=0, **fields):
    known = {"fingerprint": "0123456789", "baseline": {"class": "Counts", "order": 3}, "commit": "c0ffee"}
    metrics = {"test": {"accuracy": accuracy, "loss": 2.5}}
    return Judgement(
        name,
        seed=seed,
        **{**known, "metrics": metrics, "seconds": {"total": 1.5}, "versions": {"abacus": "9"}, **fields},
    )


@pytest.fixture(scope="module")
def found(experiment):
    study = Study(one_at_a_time({"model.dropout": (0.0,)}), seeds=4, metrics=("loss",))
    cells = plan(experiment, study)
    outcomes = [
        Outcome("final", cell.index, cell.name, "", seed, fingerprint(cell.experiment), "absent", "done")
        for cell in cells
        for seed in range(4)
    ]
    ended = [
        dataclasses.replace(
            outcome,
            metrics={"test": {"accuracy": VALUES[outcome.cell][outcome.seed], "loss": 1.0}},
            seconds={"total": 1.0},
            parameters=7,
        )
        for outcome in outcomes
    ]
    return table(ended, cells, study, "found")


def beside(found, *judgements):
    return dataclasses.replace(found, simple=simple_rows(judgements, found.columns, found.title))


def test_a_row_by_hand(found):
    draws = [judged("draws", value, seed) for seed, value in enumerate((0.5, 0.7))]
    counts, drawn = simple_rows([judged(), *draws], found.columns, "found")
    assert (counts.name, drawn.name) == ("† counts", "† draws")
    one, loss = counts.entries
    assert (one.values, one.mean, loss.mean) == ({0: 0.625}, 0.625, 2.5) and math.isnan(one.interval.low)
    assert drawn.entries[0].mean == pytest.approx(0.6)
    half = 12.706204736432095 * 0.1  # t with one degree of freedom at 0.975, and 0.2 / sqrt(2) / sqrt(2)
    assert drawn.entries[0].interval == pytest.approx((0.6 - half, 0.6 + half))
    (receipt,) = counts.receipts
    assert receipt.overrides == {"class": "Counts", "order": "3"}
    assert (receipt.seconds, receipt.versions, receipt.commits) == (1.5, ("abacus 9",), ("c0ffee",))
    assert all(entry.verdict is entry.comparison is None for row in (counts, drawn) for entry in row.entries)


def test_nothing_else_changes(found):
    """No test, count, correction, note or digit, whatever the baseline comes to."""
    for accuracy in (0.625, 1e9, math.nan):
        more = beside(found, judged(accuracy=accuracy), judged("other", seed=1))
        assert (more.rows, more.columns, findings(more), notes(more)) == (
            found.rows,
            found.columns,
            findings(found),
            notes(found),
        )
        assert layout(more).headings == layout(found).headings
        assert layout(more).rows[:2] == layout(found).rows
        assert caption(more)[:-1] == caption(found)
    assert "no test compares it with a cell" in caption(more)[-1]


def test_every_format_shows_it_marked(found, tmp_path):
    more = beside(found, judged())
    assert "| † counts | 1 | 0.62" in markdown(more)
    assert "| † counts | found | 0123456789 |" in markdown(more)  # where it comes from
    row = latex(more).split(r"\midrule")[2]
    assert row.startswith("\n$\\dagger$ counts & 1 & 0.62") and latex(found).count(r"\midrule") == 1
    assert latex(more).count("a simple baseline") == 1
    html = page(more).replace("\n", "")
    assert '<th scope="row" data-value="† counts">† counts</th>' in html
    assert '<th scope="row">† counts</th><td>class=Counts; order=3</td>' in html
    assert 'aria-label="† counts: mean 0.62"' in html  # every seed
    *cells, simple = csv.DictReader(io.StringIO(spreadsheet(more)))
    assert [line["kind"] for line in (*cells, simple)] == ["cell", "cell", "baseline"]
    assert (simple["variant"], float(simple["test.accuracy.mean"]), simple["test.accuracy.t_p"]) == (
        "† counts",
        0.625,
        "",
    )
    shapes = [
        write_report(tmp_path / name, shown)[-1].read_bytes()[16:24] for name, shown in (("a", found), ("b", more))
    ]
    assert shapes[0] < shapes[1]  # width and height of the picture: it has one row more


def test_the_picture_says_what_the_mark_is(found, tmp_path, monkeypatch):
    said, save = [], Figure.savefig

    def saved(figure, *arguments, **options):
        said.append(figure.get_supxlabel())
        save(figure, *arguments, **options)

    monkeypatch.setattr(Figure, "savefig", saved)
    for shown in (found, beside(found, judged())):
        picture(shown, tmp_path / "report.png")
    assert said == ["", "†: a simple baseline; no test compares it with a cell."]


def test_one_that_failed_is_shown(found):
    more = beside(found, judged(error="ValueError: no room", metrics={}, seconds={}))
    assert more.simple[0].entries[0].failed == (0,)
    assert "† counts, seed 0: ValueError: no room" in notes(more)
    assert "0 (1/1 failed)" in markdown(more) and "0 (1/1 failed)" in page(more)


def test_one_that_was_changed_keeps_its_row(found):
    rows = simple_rows([judged(), judged(fingerprint="abcdefabcd"), judged("other")], found.columns, "found")
    assert [row.name for row in rows] == ["† counts 0123456789", "† counts abcdefabcd", "† other"]


def test_merged_studies_keep_theirs(found):
    other = dataclasses.replace(found, columns=tuple(dataclasses.replace(c, study="other") for c in found.columns))
    merged = merge([beside(found, judged(), judged("mine")), beside(other, judged(accuracy=0.25))])
    assert [row.name for row in merged.simple] == ["† counts", "† mine"]
    assert [entry and entry.mean for entry in merged.simple[0].entries] == [0.625, 2.5, 0.25, 2.5]
    assert merged.simple[1].entries[2:] == (None, None)
    assert "† mine" in page(merged) and "† mine" in markdown(merged) and "† mine" in spreadsheet(merged)


def test_a_report_shows_what_is_stored(experiment, tmp_path):
    store = Store.open(tmp_path / "study", experiment, Study(one_at_a_time({"model.dropout": (0.0,)}), seeds=2))
    assert tabulate(store)[0].simple == ()
    keep(store.baselines, judged())
    (row,) = tabulate(store)[0].simple
    assert (row.name, row.entries[0].values) == ("† counts", {0: 0.625})
