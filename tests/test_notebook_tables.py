"""What a notebook shows of a run, a study and its report: their own numbers, and any name as it is."""

import csv
import dataclasses
from html.parser import HTMLParser

import pytest

from research import devices
from research.ablation import Store, Study, one_at_a_time
from research.ablation.report import report_on
from research.ablation.report.layout import layout
from research.training.storage.folder import Folder
from tests.ablation.report.outcomes import table_of
from tests.ablation.store.trials import finish

HARD = "<b>&amp; 'loss' \"x\"</b><script>"


class Read(HTMLParser):
    """The tags and the rows of a fragment."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.rows, self.said = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if "p" in self.tags:
            self.said += data
        else:
            self.rows[-1][-1] += data


@pytest.fixture
def store(experiment, tmp_path):
    """A study of two cells and three seeds, of which one trial is missing."""
    study = Study(one_at_a_time({"model.dropout": (0.1,)}), seeds=3, title=HARD)
    store = Store.open(tmp_path / "study", experiment, study)
    for trial in store.final_trials()[:-1]:
        finish(store, trial, accuracy=0.5 + trial.cell.index / 10 + trial.seed / 100)
    return store


def test_a_result(store):
    result = Folder(store.folder(store.final_trials()[0])).read_result()
    metrics = {"test": {"loss": 0.25, HARD: 1234.5678}, "validation": {"loss": float("nan")}}
    shown = Read(dataclasses.replace(result, metrics=metrics)._repr_html_())
    assert shown.rows == [["split", "loss", HARD], ["test", "0.25", "1234.6"], ["validation", "nan", ""]]
    assert result.fingerprint in shown.said and not {"b", "script"} & set(shown.tags)


def test_a_study_so_far(store):
    shown = Read(store._repr_html_())
    assert shown.rows == [["trials", "planned", "done"], ["baseline", "0", "3"], ["dropout 0.1", "1", "2"]]


def test_a_report(store):
    report = report_on(store)
    shown = Read(report._repr_html_())
    assert shown.rows[0] == ["variant", "n", "mean ± 95 %", "Δ", "95 % of Δ", "p (Holm)", "verdict"]
    assert [row[1] for row in shown.rows[1:]] == ["3", "2 (1/3 missing)"] and shown.rows[2][3] == "+0.100"
    assert "0 of 1 cell compared" in shown.said and str(store.root / "report.html") in shown.said
    assert not {"b", "script"} & set(shown.tags)
    assert str(report) == (store.root / "report.md").read_text()


def test_a_report_of_several_keeps_their_names(store, experiment, tmp_path):
    other = Store.open(tmp_path / "other", experiment, dataclasses.replace(store.study, title=HARD))
    found = report_on([store.root, other], tmp_path / "both", "both")
    assert (found.table.title, found.table.studies) == ("both", ("study", "other"))  # their titles are the same
    with (tmp_path / "both/report.csv").open() as file:
        assert "study.test.accuracy.mean" in next(csv.reader(file))


def test_differences_with_a_power_of_ten_are_shown(experiment):
    found = table_of(experiment, (1e-9, 1.1e-9, 1.2e-9), (2e-9, 2.2e-9, 2.3e-9))
    assert [heading.text for heading in layout(found).brief().headings][2:4] == ["mean ± 95 % (×10⁻⁹)", "Δ (×10⁻⁹)"]


def test_one_call_keeps_programs_and_memory(monkeypatch, tmp_path):
    kept = []
    monkeypatch.setattr(devices.keeping, "keep_memory", lambda: kept.append("memory"))
    monkeypatch.setattr(devices.keeping, "cache_compilations", lambda: kept.append("programs") or tmp_path)
    assert devices.keep_programs_and_memory() == tmp_path and sorted(kept) == ["memory", "programs"]
