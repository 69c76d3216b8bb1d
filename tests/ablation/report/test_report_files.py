"""The page, its learning curves, and the files of a report."""

import dataclasses
import json
import math
import re

import pytest

from research.ablation import Study, one_at_a_time
from research.ablation.report import curves, table, tabulate, write_report
from research.ablation.report.html.page import page
from research.ablation.store.study_folder import Store
from research.errors import UsageError
from tests.ablation.report.outcomes import BASELINE, BETTER, HARD, named


@pytest.mark.fault("F28")
def test_page_needs_nothing_else(found):
    text = page(named(found, HARD))
    assert set(re.findall(r"\w+://[^\"' <]*", text)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"@import|url\(|<link|<img|<iframe|<object", text)
    assert text.count("<script>") == text.count("</script>") == 1
    assert text.isascii() is False and '<meta charset="utf-8">' in text


def test_page_sorts_by_the_numbers_themselves(found):
    row = page(found).split('<tr data-index="1">')[1].split("</tr>")[0]
    values = re.findall(r'data-value="([^"]*)"', row)
    assert values[0] == "dropout 0.0"
    assert float(values[3]) == found.rows[1].entries[0].comparison.difference


def test_curves_by_hand(make, tmp_path):
    outcomes, cells, study = make(BASELINE, BETTER)
    outcomes = [dataclasses.replace(o, folder=tmp_path / f"{o.cell}-{o.seed}") for o in outcomes]
    outcomes[1] = dataclasses.replace(outcomes[1], status="diverged")
    for outcome in outcomes:
        outcome.folder.mkdir()
        lines = [
            {"step": step, "split": split, "accuracy": step + outcome.seed + 10 * outcome.cell}
            for step in (2, 5, *((7,) if outcome.seed != 3 else ()))
            for split in ("train", "validation")
        ]
        (outcome.folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = curves(outcomes, cells, study, "t")
    baseline, other = found.curves
    assert (found.metric, found.split) == ("accuracy", "validation")
    assert (baseline.name, baseline.n, other.n) == ("baseline", 3, 4)
    assert other.steps == (2, 5)  # the steps that all seeds have
    assert other.mean == (13.5, 16.5)
    half = 3.182446305284263 * math.sqrt(5 / 3) / 2
    assert (other.low[0], other.high[1]) == pytest.approx((13.5 - half, 16.5 + half))
    assert baseline.mean[0] == pytest.approx(2 + 5 / 3)  # seeds 0, 2, 3
    text = page(table(outcomes, cells, study), [found])
    assert text.count('<polyline class="curve"') == 1 + 2  # the baseline's is behind the other one, too
    assert "Learning curves" not in page(table(outcomes, cells, study), [])


def test_files(found, tmp_path):
    paths = write_report(tmp_path / "new", named(found, HARD))
    assert [path.name for path in paths] == [f"report.{ending}" for ending in ("md", "csv", "tex", "html", "png")]
    assert paths[-1].read_bytes().startswith(b"\x89PNG")
    assert paths[3].read_text() == page(named(found, HARD))
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write a report"):
        write_report(tmp_path / "file", found)


def test_report_of_a_store(experiment, tmp_path):
    study = Study(one_at_a_time({"model.dropout": (0.0,)}), seeds=2)
    store = Store.open(tmp_path / "ablation", experiment, study)
    found, learning = tabulate(store)
    assert (found.title, [row.name for row in found.rows]) == ("ablation", ["baseline", "dropout 0.0"])
    assert [row.entries[0].missing for row in found.rows] == [(0, 1)] * 2
    assert learning.curves == ()
    tuned = dataclasses.replace(study, nuisance=one_at_a_time({"steps": (5, 7)}))
    found, _ = tabulate(Store.open(tmp_path / "tuned", experiment, tuned))
    assert "nuisance settings are not decided yet" in found.remarks[0]
