"""A verdict is given only where the planned runs are there and the planned test says so; else it is open, and why."""

import math

import numpy as np
import pytest
from scipy import stats

from research.ablation.report import doubtful, findings
from research.ablation.report.formats.markdown import markdown
from research.ablation.statistics.comparison import alike, t_test
from research.ablation.statistics.divergence import divergence_p
from research.ablation.statistics.looking import look, resolved
from research.errors import UsageError
from tests.ablation.report.outcomes import entries_of, study_of, table_of

EIGHT = tuple(0.5 + seed / 100 for seed in range(8))


def shifted(by, wiggle=0.0):
    """The values of the baseline, better by so much."""
    return tuple(value + by + wiggle * (-1) ** seed for seed, value in enumerate(EIGHT))


def test_a_collapse_in_every_seed_is_decided_by_the_sign_flips(experiment):
    """All differences are -1, so t is not defined; 2 of 256 choices of signs reach their sum."""
    ones, zeros = (1.0,) * 8, (0.0,) * 8
    exact = stats.permutation_test(
        (np.full(8, -1.0),), np.sum, permutation_type="samples", n_resamples=np.inf, vectorized=False
    )
    for rows, maximize, verdict in (((ones, zeros), True, "worse"), ((zeros, ones), True, "better")):
        (entry,) = entries_of(experiment, *rows, maximize=maximize)
        assert math.isnan(entry.comparison.t_p)
        assert (entry.corrected_p, entry.verdict) == (exact.pvalue, verdict) == (2 / 256, verdict)
    found = table_of(experiment, ones, zeros)
    assert findings(found)[0][0].startswith("1 of 1 cell compared") and "there is no t" in doubtful(found)[0]
    (entry,) = entries_of(experiment, ones[:5], zeros[:5])
    assert (entry.corrected_p, entry.verdict) == (2 / 32, "open")


def test_no_difference_at_all_is_equivalent_where_a_margin_is_given(experiment):
    """At n = 5 each exact one-sided test has p = 1 / 32, at n = 4 it has 1 / 16; two cells halve the level."""
    for seeds, cells, margin, verdict in (
        (5, 1, 0.01, "equivalent"),
        (4, 1, 0.01, "open"),
        (5, 2, 0.01, "open"),
        (6, 2, 0.01, "equivalent"),
        (8, 1, None, "open"),
    ):
        row = EIGHT[:seeds]
        assert {entry.verdict for entry in entries_of(experiment, *[row] * (1 + cells), margin=margin)} == {verdict}
    (entry,) = entries_of(experiment, (0.0,) * 8, (1.0,) * 8, margin=2.0)
    assert (entry.verdict, entry.equivalent) == ("better", True)
    assert not alike([3.0] * 8, 2.0, 0.05) and alike([1.0] * 8, 2.0, 0.05) and not alike([0.0], 2.0, 0.4)


@pytest.mark.fault("F47")
@pytest.mark.parametrize("lost", ["diverged", "failed", None, math.nan])
def test_survivors_of_a_cell_say_nothing(experiment, lost):
    """The two seeds that are left are better by about 0.1, with t p of 0.001 or less."""
    survivors = [lost] * 6 + list(shifted(0.1, 1e-5)[6:])
    for rows in ((EIGHT, survivors), (survivors, EIGHT)):
        found = table_of(experiment, *rows, margin=1.0)
        entry = found.rows[1].entries[0]
        assert entry.comparison.n == 2 and entry.comparison.t_p < 0.001
        assert (entry.verdict, entry.marked, entry.equivalent, entry.lost) == ("open", False, False, 6)
        assert "open, 6 pairs missing" in markdown(found) and "**" not in markdown(found)
        assert "of 1 cell nothing is claimed, as runs are missing" in findings(found)[0][0]
        assert "Nothing is claimed of dropout 0.0" in doubtful(found)[0]


@pytest.mark.fault("F48")
@pytest.mark.parametrize(("cell", "baseline"), [(6, 0), (8, 0), (3, 3), (5, 2), (0, 7), (2, 0)])
def test_how_often_a_cell_diverges_is_tested_by_itself(experiment, cell, baseline):
    """The exact test of McNemar: the seeds at which one alone diverged are a binomial sample."""
    rows = [["diverged"] * count + list(EIGHT[count:]) for count in (baseline, cell)]
    found = table_of(experiment, *rows)
    entry = found.rows[1].entries[0]
    alone = abs(cell - baseline)  # the first seeds of both
    p = stats.binomtest(alone, alone).pvalue if alone else 1.0
    assert entry.divergence_p == pytest.approx(p)
    said = [line for line in findings(found)[0] if line.startswith("Diverges")] if found.columns[0].tests else []
    assert bool(said) == (p < 0.05 and found.columns[0].tests > 0)
    assert f"diverged in {cell} of 8 seeds, the baseline in {baseline}" in " ".join(doubtful(found))
    assert divergence_p({0, 1, 2}, {1, 5, 6, 7, 8}) == pytest.approx(stats.binomtest(2, 6).pvalue)


def test_divergence_is_corrected_for_the_cells_and_takes_no_run_that_failed(experiment):
    six = ["diverged"] * 6 + list(EIGHT[6:])
    two = [entry.divergence_p for entry in entries_of(experiment, EIGHT, six, EIGHT)]
    assert two == pytest.approx([2 * 2 / 64, 1.0])
    (entry,) = entries_of(experiment, ["failed"] * 3 + list(EIGHT[3:]), six)
    assert entry.divergence_p == pytest.approx(stats.binomtest(3, 3).pvalue)


def test_a_plan_of_looks_decides_in_the_table(experiment):
    """At six seeds the least p is 2 / 64, twice that for two looks; t alone would call it better at once."""
    better = shifted(0.1, 0.001)
    six, eight = (entries_of(experiment, EIGHT[:n], better[:n], looks=(6, 8))[0] for n in (6, 8))
    assert six.comparison.t_p < 1e-6
    assert (six.corrected_p, six.verdict) == (2 * 2 / 64, "open")
    assert (eight.corrected_p, eight.verdict) == (2 * 2 / 256, "better")
    found = table_of(experiment, EIGHT, better, looks=(6, 8, 16))
    assert "Looks at 6, 8, 16 seeds were fixed before the first run" in found.remarks[0]
    with pytest.raises(UsageError, match="goes by its plan"):
        table_of(experiment, EIGHT, better, looks=(6, 8), test="t")
    with pytest.raises(UsageError, match="looks are ascending numbers of seeds, 8 among them"):
        study_of(experiment, EIGHT, better, looks=(4, 6))


def test_a_look_with_a_run_that_diverged_says_nothing():
    """Seven of eight agree: by the survivors alone p would be 2 / 128."""
    baseline, other = dict(enumerate(EIGHT)), dict(enumerate(shifted(1.0, 0.01)))
    lossy = {**other, 7: math.nan}
    assert resolved(baseline, [other], (8,)) == ("different",)
    for a, b in ((baseline, lossy), (lossy, baseline)):
        assert resolved(a, [b], (8,), margin=9.0) == ("open",)
        assert np.isnan(look(a, [b], (8,)).p).all()
        assert resolved(a, [b], (7, 8)) == ("different",)  # at the look before: 2 * 2 / 128


def test_another_test_than_the_study_plans_is_said(experiment):
    found = table_of(experiment, EIGHT, shifted(0.1, 0.001), test="permutation")
    assert found.columns[0].test == "permutation"
    assert "The permutation test was chosen for this report: the study plans the paired t test." in found.remarks
    planned = table_of(experiment, EIGHT, shifted(0.1, 0.001), **{"test": None})
    assert planned.columns[0].test == "t" and planned.remarks == ()


def test_a_verdict_is_doubtful_where_the_tests_disagree(experiment):
    """One seed of eight is far off: t hides what the ranks of the signs show, or the other way round."""
    outlier = (*shifted(0.02, 0.001)[:7], EIGHT[7] + 0.5)
    entry = entries_of(experiment, EIGHT, outlier)[0]
    assert entry.holm_permutation_p < 0.05 < entry.holm_t_p and entry.verdict == "open"
    assert "disagree about dropout 0.0: the paired t test decides" in " ".join(
        doubtful(table_of(experiment, EIGHT, outlier))
    )
    assert not doubtful(table_of(experiment, EIGHT, shifted(0.1, 0.001)))


def test_a_claim_against_a_baseline_that_hardly_varies_is_doubtful(experiment):
    """Then the differences have the shape of the cell: of exponential values the t test claims twice too often."""
    rng = np.random.default_rng(0)
    skewed, calm = rng.exponential(size=(4_000, 8)) - 1, 1e-6 * rng.normal(size=(4_000, 8))
    claims = t_test(skewed - calm) < 0.05
    assert 0.08 < claims.mean() < 0.12, "what the report says of it"
    row = int(np.flatnonzero(claims)[0])
    found = table_of(experiment, tuple(calm[row]), tuple(skewed[row]))
    assert "spread more than 3 times as much" in " ".join(doubtful(found))
    both = rng.exponential(size=(2, 4_000, 8))
    assert (t_test(both[0] - both[1]) < 0.05).mean() < 0.06, "two alike are safe"


def test_one_seed_tests_nothing(experiment):
    found = table_of(experiment, (0.5,), (0.6,))
    assert findings(found)[0][0].startswith("With one seed nothing can be tested: of 1 cell")
    assert "significantly" not in " ".join(findings(found)[0])
