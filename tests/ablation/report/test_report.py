"""The table of a study by hand, and what is said of it."""

import csv
import dataclasses
import io
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from research.ablation import Study, one_at_a_time, plan
from research.ablation.report import caption, findings, merge, minimum_seeds_sentence, notes, table, write_report
from research.ablation.report.formats.axis import Axis, axis
from research.ablation.report.formats.latex import latex
from research.ablation.report.formats.markdown import escape as markdown_escape
from research.ablation.report.formats.markdown import markdown
from research.ablation.report.formats.spreadsheet import spreadsheet
from research.ablation.report.html.page import page
from research.ablation.report.numbers import Scale, p_text, scale
from research.errors import UsageError
from tests.ablation.report.outcomes import BASELINE, BETTER, SAME, tried


def texts(found):
    return [markdown(found), spreadsheet(found), latex(found), page(found)]


def test_table_by_hand(make):
    found = table(*make(BASELINE, BETTER, SAME), "by hand")
    (column,) = found.columns
    assert (column.metric, column.split, column.maximize, column.seeds) == ("accuracy", "test", True, (0, 1, 2, 3))
    assert (column.tests, column.floor) == (2, 7)  # 2 / 2^7 is the first below 0.05 / 2
    baseline, better, same = (row.entries[0] for row in found.rows)
    assert [row.name for row in found.rows] == ["baseline", "dropout 0.0", "dropout 0.0625"]
    assert (baseline.comparison, baseline.verdict, baseline.marked) == (None, None, False)
    assert baseline.mean == pytest.approx(0.65)
    assert baseline.sd == pytest.approx(math.sqrt(0.05 / 3))
    critical = 3.182446305284263  # of t with 3 degrees of freedom at 0.975, from a printed table
    assert baseline.interval == pytest.approx(
        (0.65 - critical * math.sqrt(0.05 / 12), 0.65 + critical * math.sqrt(0.05 / 12))
    )

    # t = 0.15 / (sqrt(1/300) / 2) = 3 sqrt(3); the distribution with 3 degrees of freedom has a closed form.
    p = 1 - 2 / math.pi * (math.atan(3) + 0.3)
    assert better.comparison.difference == pytest.approx(0.15)
    assert better.comparison.t_p == pytest.approx(p)
    assert better.comparison.permutation_p == 2 / 16
    assert (better.holm_t_p, better.holm_permutation_p) == pytest.approx((2 * p, 2 * 2 / 16))
    assert better.comparison.effect == pytest.approx(1.5 * math.sqrt(3))
    assert better.comparison.better == 1
    assert better.difference_sd == pytest.approx(math.sqrt(1 / 300))
    assert better.comparison.correlation == pytest.approx(3 / math.sqrt(10))
    assert better.variance_ratio == pytest.approx(1 / 13)
    assert (better.marked, better.verdict) == (True, "better")

    assert same.comparison.difference == pytest.approx(0, abs=1e-12)
    assert (same.comparison.t_p, same.holm_t_p, same.comparison.better) == pytest.approx((1, 1, 0.5))
    assert (same.marked, same.verdict, same.equivalent) == (False, "open", None)

    (receipt,) = found.rows[1].receipts
    assert (receipt.parameters, receipt.seconds, receipt.seeds) == (1235, 3.5, (0, 1, 2, 3))
    assert (receipt.overrides, receipt.modes, receipt.commits) == ({"model.dropout": "0.0"}, ("vmap",), ("c0ffee",))


def test_permutation_marks_what_it_corrects(make):
    found = table(*make(BASELINE, BETTER, SAME), test="permutation")
    assert not any(row.entries[0].marked for row in found.rows)  # 2 / 16 is above 0.05
    assert "correction of the permutation p" in caption(found)[1]


def test_less_is_better(make):
    more, less = (table(*make(BASELINE, BETTER, maximize=way)) for way in (True, False))
    one, other = (found.rows[1].entries[0] for found in (more, less))
    assert (one.verdict, other.verdict) == ("better", "worse")
    assert (one.comparison.better, other.comparison.better) == (1, 0)
    assert (one.comparison.difference, one.holm_t_p) == (other.comparison.difference, other.holm_t_p)
    assert "test accuracy ↑" in page(more)
    assert "test accuracy ↓" in page(less)
    assert "Better: dropout 0.0." in findings(more)[0]
    assert "Worse: dropout 0.0." in findings(less)[0]


@pytest.mark.fault("F32")
def test_losses_are_counted_and_shown(make):
    outcomes, cells, study = make(
        (0.5, 0.6, 0.7, 0.8, 0.9), (0.6, "diverged", math.nan, "failed", None), ("planned", 0.9, "running", 0.5, 0.4)
    )
    found = table(outcomes, cells, study)
    lossy, unfinished = (row.entries[0] for row in found.rows[1:])
    assert (lossy.n, lossy.planned, lossy.values) == (1, 5, {0: 0.6})  # a diverged run's last accuracy is no value
    assert (lossy.diverged, lossy.failed, lossy.missing) == ((1, 2), (3,), (4,))
    assert (unfinished.diverged, unfinished.failed, unfinished.missing) == ((), (), (0, 2))
    assert unfinished.comparison.n == 3
    for text in texts(found):
        assert "1 (2/5 diverged, 1/5 failed, 1/5 missing)" in text or "dropout 0.0,,,1,2,1,1," in text
    assert "dropout 0.0, seed 3: no room left" in notes(found)
    assert found.rows[1].receipts[0].errors == {3: "no room left"}


@given(st.lists(st.lists(st.sampled_from([0.0, 1.0, 1.25, 1.5, 2.0]), min_size=5, max_size=5), min_size=1, max_size=4))
def test_a_row_is_marked_exactly_below_alpha(experiment, rows):
    study = Study(one_at_a_time({"model.dropout": tuple(i / 16 for i in range(len(rows)))}), seeds=5, alpha=0.2)
    cells = plan(experiment, study)
    values = [(0.0, 0.1, 0.2, 0.3, 0.4), *rows]
    outcomes = [tried(cell, s, x) for cell, row in zip(cells, values, strict=True) for s, x in enumerate(row)]
    for test in ("t", "permutation"):
        found = table(outcomes, cells, study, test=test)
        for row in found.rows[1:]:
            entry = row.entries[0]
            p = entry.holm_t_p if test == "t" else entry.holm_permutation_p
            assert entry.marked == (p < 0.2)
            assert (f"**{markdown_escape(row.name)}**" in markdown(found)) == entry.marked
            assert (entry.verdict == "open") != entry.marked


def test_margin(make):
    close = tuple(value + 0.001 * (-1) ** seed for seed, value in enumerate(BASELINE))
    shifted = tuple(value + 0.02 + 0.0001 * seed for seed, value in enumerate(BASELINE))
    found = table(*make(BASELINE, close, shifted, BETTER, margin=0.03))
    entries = [row.entries[0] for row in found.rows[1:]]
    assert [entry.verdict for entry in entries] == ["equivalent", "better", "better"]
    assert [entry.equivalent for entry in entries] == [True, True, False]
    assert "better, within the margin" in markdown(found)
    # two one-sided tests at 0.05 / cells: half the interval is 0.00136 for one cell, and 0.00216 for three
    for rows, verdict in ((1, "equivalent"), (3, "open")):
        found_of = table(*make(BASELINE, *[close] * rows, margin=0.0018))
        assert found_of.rows[1].entries[0].verdict == verdict
    assert any("a t interval of level 0.9667" in note for note in notes(found))


def test_further_metrics(make):
    outcomes, cells, study = make(BASELINE, BETTER, metrics=("loss", "speed"))
    with pytest.raises(UsageError, match='baseline with seed 0 has no metric "speed".*accuracy'):
        table(outcomes, cells, study)
    outcomes = [
        dataclasses.replace(outcome, metrics={"test": {**outcome.metrics["test"], "speed": outcome.seed * 1.0}})
        for outcome in outcomes
    ]
    found = table(outcomes, cells, study)
    assert [(column.metric, column.maximize, column.primary) for column in found.columns] == [
        ("accuracy", True, True),
        ("loss", False, False),
        ("speed", None, False),
    ]
    assert math.isnan(found.rows[1].entries[2].comparison.better)
    with pytest.raises(UsageError, match='not evaluated on "validation"'):
        table(outcomes, cells, dataclasses.replace(study, split="validation"))


def test_only_what_the_study_asks_for_enters(make, experiment):
    outcomes, cells, study = make(BASELINE, BETTER)
    tuning = [dataclasses.replace(outcome, phase="tuning", metrics={}) for outcome in outcomes]
    more = [dataclasses.replace(outcomes[0], seed=4), dataclasses.replace(outcomes[0], fingerprint="of another cell")]
    found = table([*outcomes, *more, *tuning], cells, study)
    assert repr(found.rows) == repr(table(outcomes, cells, study).rows)  # NaN is not equal to itself
    assert found.remarks == ("Left out, as the study does not ask for them: 2 trials of other cells or seeds.",)


def test_merge(make):
    digits = table(*make(BASELINE, BETTER, SAME, metrics=("loss",)), "digits")
    letters = table(*make(SAME, BASELINE), "letters")
    found = merge([letters, digits], "both")
    assert [row.name for row in found.rows] == ["baseline", "dropout 0.0", "dropout 0.0625"]
    assert [column.study for column in found.columns] == ["letters", "digits", "digits"]
    assert found.rows[1].entries == (*letters.rows[1].entries, *digits.rows[1].entries)  # nothing is pooled
    assert found.rows[2].entries == (None, *digits.rows[2].entries)
    assert [receipt.study for receipt in found.rows[1].receipts] == ["letters", "digits"]
    (header, *lines) = csv.reader(io.StringIO(spreadsheet(found)))
    assert lines[1][header.index("digits.test.accuracy.mean")] == repr(digits.rows[1].entries[0].mean)
    assert "letters: test accuracy ↑" in page(found)
    assert latex(found).count(r"\cmidrule") == 3
    with pytest.raises(UsageError, match="titles of their own"):
        merge([digits, digits])
    with pytest.raises(UsageError, match="no table"):
        merge([])


def test_what_is_missing_is_said(make, tmp_path):
    empty = table([], *make(BASELINE, BETTER)[1:])
    assert "No run has finished with a finite value yet." in notes(empty)
    assert minimum_seeds_sentence(empty.columns[0]) == "No cell could be compared with the baseline."
    alone = table(*make(BASELINE))
    assert "The study has no cell besides the baseline." in notes(alone)
    once = table(*make((0.5,), (0.6,)))
    assert any("One seed gives no interval and no test" in note for note in notes(once))
    assert once.rows[1].entries[0].comparison.difference == pytest.approx(0.1)
    lost = table(*make(("diverged", "failed"), (0.5, 0.6)))
    assert "The baseline has no finite value (0 (1/2 diverged, 1/2 failed)), so nothing can be compared." in notes(lost)
    for found in (empty, alone, once, lost, merge([empty])):
        assert all(texts(found))
        write_report(tmp_path, found)


def test_mixed_circumstances_are_said(make):
    outcomes, cells, study = make(BASELINE, BETTER)
    outcomes[-1] = dataclasses.replace(outcomes[-1], mode="loop", commit="c0ffee-dirty")
    said = " ".join(notes(table(outcomes, cells, study)))
    assert "different modes (vmap; loop)" in said
    assert "different commits (c0ffee; c0ffee-dirty)" in said
    assert "changes that no commit has" in said
    assert "different devices" not in said


def test_seeds_that_a_claim_takes(make):
    few = table(*make(BASELINE, BETTER, SAME))
    assert "fewer than 7 seeds" in minimum_seeds_sentence(few.columns[0])
    assert "has 4, so that test can make no claim" in minimum_seeds_sentence(few.columns[0])
    # one cell: 2 / 2^6 <= 0.05
    assert "fewer than 6 seeds" in minimum_seeds_sentence(table(*make(BASELINE, BETTER)).columns[0])
    pairing = next(note for note in notes(few) if note.startswith("Correlation"))
    assert pairing.endswith("so pairing pays.")


@pytest.mark.parametrize(
    ("values", "widths", "value", "text"),
    [
        ([0.98], [0.0031], 0.98456, "0.9846"),  # two digits of the width
        ([0.98], [0.0099], 0.98456, "0.9846"),
        ([12.3], [4.0], 12.34, "12.3"),
        ([1234.0], [150.0], 1234.5, "1,234"),
        ([0.5], [0.1, 0.1, 0.0004], 0.51234, "0.5123"),  # one digit of the least
        ([3.2e-8], [1.1e-9], 3.21e-8, "3.21"),
        ([4.4e9], [2e8], 4.44e9, "4.44"),
        ([0.5], [], 0.51234, "0.5123"),
        ([0.5], [0.1], -0.001, "0.00"),
        ([0.5], [0.1], -0.25, "−0.25"),
        ([0.5], [math.nan], math.nan, "–"),
    ],
)
def test_digits_follow_the_width(values, widths, value, text):
    assert scale(values, widths).text(value) == text


def test_numbers():
    assert scale([3.2e-8], [1.1e-9]).unit == "×10⁻⁸"
    assert Scale(2).text(0.25, signed=True) == "+0.25"
    assert [p_text(p, 0.05) for p in (0.0123, 0.0009, 0.04999, 0.05, 1.0, math.nan)] == [
        "0.012",
        "<0.001",
        "0.04999",
        "0.050",
        "1.000",
        "–",
    ]


@given(st.floats(0.001, 1), st.sampled_from([0.01, 0.05, 0.1]))
def test_p_is_on_the_right_side_of_alpha(p, alpha):
    assert (float(p_text(p, alpha)) < alpha) == (p < alpha)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_ticks_are_round_and_on_the_axis(low, span):
    along = axis([low, low + span])
    ticks = along.ticks(5)
    assert 2 <= len(ticks) <= 8
    slack = 1e-6 * (along.high - along.low)
    assert all(along.low - slack <= tick <= along.high + slack for tick in ticks)
    assert Axis(1, 1000, logarithmic=True).ticks(5) == (1, 10, 100, 1000)
