"""Statistics against SciPy, statsmodels and fractions, and in simulated studies whose truth is known."""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from research.ablation.statistics.comparison import (
    EXACT,
    Interval,
    benjamini_hochberg,
    effect_size,
    equivalent,
    holm,
    mean,
    minimum_seeds,
    paired,
    sign_flip,
    t_interval,
    t_test,
)
from research.ablation.statistics.looking import resolved
from research.errors import UsageError

NAN = math.nan
NUMBERS = st.floats(-100, 100, width=16)


def keyed(values):
    return dict(enumerate(values))


def columns(low, high):
    """Two columns of equal length, from `low` to `high` seeds."""
    return st.integers(low, high).flatmap(lambda n: st.tuples(*[st.lists(NUMBERS, min_size=n, max_size=n)] * 2))


def above(rate, share, draws):
    """Whether a simulated share is above `rate` by more than 3 standard errors."""
    return share > rate + 3 * math.sqrt(rate * (1 - rate) / draws)


# One comparison


def test_a_comparison_by_hand():
    """Differences 1, 2, 3: s = 1, and t with 2 degrees of freedom is 4.3027 at 0.975. Two of eight sums reach 6."""
    found = paired({0: 1.0, 1: 5.0, 2: 2.0, 7: 9.0}, {2: 5.0, 1: 7.0, 0: 2.0, 8: NAN})
    assert (found.n, found.left_out) == (3, 2)
    assert found.difference == 2.0
    np.testing.assert_allclose(found.interval, (2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)), rtol=1e-6)
    assert found.permutation_p == 2 / 8
    assert found.effect == 2.0
    assert found.better == 1.0
    np.testing.assert_allclose(found.correlation, 87 / math.sqrt(78 * 114))  # of deviations times 3


@given(columns(3, 9))
def test_equals_scipy(pair):
    a, b = np.array(pair)
    assume(np.ptp(b - a) > 1e-3 and np.ptp(a) > 1e-3 and np.ptp(b) > 1e-3)
    found, oracle = paired(keyed(a), keyed(b), level=0.9), stats.ttest_rel(b, a)
    exact = stats.permutation_test((b - a,), np.sum, permutation_type="samples", n_resamples=np.inf, vectorized=False)
    np.testing.assert_allclose(found.t_p, oracle.pvalue, rtol=1e-9)
    np.testing.assert_allclose(found.interval, oracle.confidence_interval(0.9), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.permutation_p, exact.pvalue, rtol=1e-12)
    np.testing.assert_allclose(found.correlation, stats.pearsonr(a, b).statistic, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.effect, oracle.statistic / math.sqrt(len(a)), rtol=1e-9, atol=1e-12)


@given(columns(1, 9), st.booleans())
def test_a_comparison_turned_round(pair, maximize):
    """Exchanging the cells turns the sign; so does asking for less. Nothing else changes, nor with the seeds' order."""
    a, b = map(keyed, pair)
    there, back = paired(a, b, maximize), paired(b, a, maximize)
    assert there.difference == -back.difference
    np.testing.assert_allclose(there.interval, [-back.interval.high, -back.interval.low], rtol=1e-9, atol=1e-9)
    np.testing.assert_equal([there.t_p, there.permutation_p], [back.t_p, back.permutation_p])
    np.testing.assert_equal(abs(there.effect), abs(back.effect))
    assert there.better == paired(b, a, not maximize).better == pytest.approx(1 - back.better)
    shuffled = paired(dict(reversed(a.items())), b, maximize)
    assert repr(shuffled) == repr(there)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=1, max_size=7), st.integers(61, 400))
def test_ties_are_ties_in_spite_of_floating_point(counts, examples):
    """Accuracies are quotients of integers, so every sum of differences can be compared exactly."""
    exact = [Fraction(b, examples) - Fraction(a, examples) for a, b in counts]
    sums = [abs(sum(signed)) for signed in itertools.product(*((d, -d) for d in exact))]
    wanted = Fraction(sum(value >= abs(sum(exact)) for value in sums), len(sums))
    found = paired(*(keyed(count[column] / examples for count in counts) for column in (0, 1)))
    assert found.permutation_p == float(wanted)
    if len(set(exact)) > 1:
        assert 0 < found.t_p <= 1 and math.isfinite(found.effect)
    else:
        no_change = len(exact) > 1 and exact[0] == 0
        np.testing.assert_equal([found.t_p, found.effect], [1.0, 0.0] if no_change else [NAN, NAN])


def test_what_is_undefined():
    empty, one = paired({}, {0: 1.0}), paired({0: 1.0}, {0: 3.0})
    np.testing.assert_equal(
        [empty.n, empty.left_out, empty.difference, empty.t_p, empty.permutation_p, empty.effect, empty.better],
        [0, 1, NAN, NAN, NAN, NAN, NAN],
    )
    np.testing.assert_equal([one.difference, one.t_p, one.permutation_p, one.better], [2.0, NAN, 1.0, 1.0])
    np.testing.assert_equal([*one.interval, one.effect, one.correlation], [NAN] * 4)
    same = paired(keyed([0.3, 0.2, 0.1]), keyed([0.1 + 0.2, 0.2, 0.1]))  # 0.1 + 0.2 is not 0.3
    np.testing.assert_equal(
        [same.difference, *same.interval, same.t_p, same.permutation_p, same.effect, same.better],
        [0.0, NAN, NAN, 1.0, 1.0, 0.0, 0.5],
    )
    shifted = paired(keyed([0.1, 0.2, 0.3]), keyed([0.2, 0.3, 0.4]))
    np.testing.assert_equal(
        [*shifted.interval, shifted.t_p, shifted.permutation_p, shifted.effect], [NAN, NAN, NAN, 0.25, NAN]
    )
    np.testing.assert_equal([mean([]), *t_interval([1.0]), *t_interval([2.0, 2.0])], [NAN] * 5)
    for a, b in (([1.0, 2.0], [1.0, 3.0]), ([1.0, 1.0, 2.0], [5.0, 5.0, 5.0])):
        assert math.isnan(paired(keyed(a), keyed(b)).correlation)


def test_values_that_are_nearly_equal_have_a_narrow_interval():
    """SciPy warns of them, and a warning would be an error here."""
    low, high = t_interval([0.99, math.nextafter(0.99, 1), 0.99])
    assert 0 < high - low < 1e-15 and low < 0.99 + 1e-15 and high > 0.99 - 1e-15


def test_infinities_are_left_out_and_counted():
    found = paired({0: 1.0, 1: math.inf, 2: 2.0, 3: NAN}, {0: 2.0, 1: 1.0, 2: 1.0, 3: 1.0})
    assert (found.n, found.left_out, found.difference) == (2, 2, 0.0)


def test_arrays_with_a_value_that_is_not_finite_have_no_answer():
    rows = np.array([[1.0, 2.0, NAN], [1.0, 2.0, 4.0]])
    for function in (sign_flip, t_test, effect_size, mean, lambda x: t_interval(x).low):
        assert np.isnan(function(rows)).tolist() == [True, False]


def test_rows_are_tested_one_by_one():
    rows = np.random.default_rng(0).normal(size=(5, 3, 7))
    for function in (sign_flip, t_test, effect_size, mean, lambda x: t_interval(x).low):
        np.testing.assert_allclose(function(rows), [[function(row) for row in block] for block in rows], rtol=1e-12)


def test_beyond_sixteen_seeds_a_sample_of_flips_comes_close():
    """17 seeds are few enough to count all flips here, and too many there."""
    differences = np.linspace(-1.0, 2.0, EXACT + 1)
    sums = np.zeros(1)
    for difference in differences:
        sums = np.concatenate([sums + difference, sums - difference])
    exact = (np.abs(sums) >= abs(differences.sum()) - 1e-9).mean()
    assert 0.01 < exact < 0.2
    assert abs(sign_flip(differences) - exact) < 4 * math.sqrt(exact / 20_000)
    assert sign_flip(differences) == sign_flip(differences) != sign_flip(differences, seed=1)
    assert sign_flip(np.ones(30)) == 1 / 20_000


# Many comparisons


P_VALUES = st.lists(st.one_of(st.floats(0, 1), st.just(NAN), st.sampled_from([0.01, 0.02])), max_size=9)


@given(P_VALUES)
@settings(max_examples=12)  # statsmodels takes its time
def test_corrections_equal_statsmodels_and_pass_nan_by(p_values):
    p_values = np.array(p_values)
    tested = ~np.isnan(p_values)
    for function, method in ((holm, "holm"), (benjamini_hochberg, "fdr_bh")):
        found = function(p_values)
        assert np.isnan(found[~tested]).all()
        if tested.any():
            np.testing.assert_allclose(found[tested], multipletests(p_values[tested], method=method)[1], rtol=1e-12)


def test_holm_by_hand():
    np.testing.assert_allclose(holm([0.01, NAN, 0.04, 0.03, 0.5]), [0.04, NAN, 0.09, 0.09, 0.5])


def test_minimum_seeds():
    assert [minimum_seeds(tests) for tests in (1, 2, 3, 4, 5, 6, 10)] == [6, 7, 7, 8, 8, 8, 9]
    for tests, alpha in itertools.product((1, 3, 7), (0.05, 0.0625, 0.01)):
        least = minimum_seeds(tests, alpha)
        for n, reaches in ((least, True), (least - 1, False)):
            best = holm([sign_flip(np.ones(n)), *[1.0] * (tests - 1)])[0]
            assert (best <= alpha) == reaches
    with pytest.raises(UsageError):
        minimum_seeds(0)


def test_equivalence():
    assert equivalent(Interval(-0.1, 0.19), 0.2)
    assert not equivalent(Interval(-0.1, 0.21), 0.2)
    assert not equivalent(Interval(-0.21, 0.1), 0.2)
    assert not equivalent(Interval(NAN, NAN), 0.2)
    with pytest.raises(UsageError):
        equivalent(Interval(0, 0), 0.0)


# Simulated studies


@pytest.mark.parametrize("n", [3, 5, 8, 20])
def test_t_intervals_cover(n):
    draws = 40_000
    low, high = t_interval(np.random.default_rng(n).normal(3.0, 2.0, (draws, n)))
    covered = ((low < 3.0) & (high > 3.0)).mean()
    assert abs(covered - 0.95) < 3 * math.sqrt(0.05 * 0.95 / draws)


@pytest.mark.parametrize("test", [t_test, sign_flip])
def test_a_null_study_of_six_cells_rarely_claims_anything(test):
    """Six cells share a baseline, as in a real study, so their tests are correlated."""
    studies, cells, n = 4_000, 6, 9
    noise = np.random.default_rng(0).normal(size=(studies, cells + 1, n))
    p_values = test(noise[:, 1:] - noise[:, :1])  # [studies, cells]
    claims = sum((holm(row) <= 0.05).any() for row in p_values)
    assert not above(0.05, claims / studies, studies)
    assert claims / studies > 0.005  # it is not silent either
    assert (p_values <= 0.05).any(axis=1).mean() > 0.1  # without the correction it would claim too much


def test_sign_flips_need_symmetry_but_not_normality():
    """At n = 8 levels are multiples of 2 / 256: a test at 12 / 256 rejects just that often, heavy tails or not."""
    draws = 20_000
    differences = np.random.default_rng(0).standard_t(1.5, size=(draws, 8))
    level = 12 / 256
    rejected = (sign_flip(differences) <= level).mean()
    assert abs(rejected - level) < 3 * math.sqrt(level / draws)


def simulate(rng, effects, n):
    """Values by seed of a baseline and of cells that differ from it by `effects` on average."""
    noise = rng.normal(size=(len(effects) + 1, n))
    return keyed(noise[0]), [keyed(noise[0] + effect + row) for effect, row in zip(effects, noise[1:], strict=True)]


def test_looking_repeatedly_keeps_the_promise():
    """Stop at the first look that resolves anything: by chance alone, that stays below alpha."""
    rng, studies, looks = np.random.default_rng(0), 300, (6, 8, 10, 12)
    naive = false = 0
    for _ in range(studies):
        baseline, others = simulate(rng, (0.0, 0.0), looks[-1])
        false += "different" in resolved(baseline, others, looks)
        naive += any(
            paired(dict(itertools.islice(baseline.items(), n)), other).t_p <= 0.05 for n in looks for other in others
        )
    assert not above(0.05, false / studies, studies)
    assert above(0.05, naive / studies, studies)


def test_a_verdict_of_equivalence_is_rarely_false():
    """The truth lies on the margin, where the chance is greatest."""
    rng, studies, looks = np.random.default_rng(0), 400, (6, 10, 14)
    false = sum("equivalent" in resolved(*simulate(rng, (1.0, -1.0), 14), looks, margin=1.0) for _ in range(studies))
    assert not above(0.05, false / studies, studies)
    assert resolved(*simulate(rng, (0.0, 0.0), 14), looks, margin=9.0) == ("equivalent", "equivalent")


def test_what_is_resolved_stays_so_and_may_stop():
    baseline, (strong, null) = simulate(np.random.default_rng(1), (9.0, 0.0), 16)
    first = [{seed: values[seed] for seed in range(8)} for values in (baseline, strong, null)]
    looks = (8, 16)
    assert resolved(first[0], first[1:], looks) == ("different", "open")
    assert resolved(baseline, [first[1], null], looks) == ("different", "open")
    assert resolved(first[0], [{}, {}], looks) == ("open", "open")
    assert resolved(baseline, [strong], (6, 7, 8, 9)) == resolved(baseline, [strong], (9,)) == ("different",)
    assert resolved(first[0], first[1:2], (6, 16)) == ("open",)  # 2 / 64 times two looks


def test_a_look_takes_its_own_seeds_and_no_others():
    """The first six seeds agree and the later ones do not: one look at six sees it, a look at eight does not."""
    baseline, other = keyed([0.0] * 8), keyed([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, -30.0, -30.0])
    assert resolved(baseline, [other], (6,)) == ("different",)
    assert resolved(baseline, [other], (8,)) == ("open",)


@pytest.mark.parametrize("looks", [(), (8, 8), (9, 8), (0, 3)])
def test_looks_must_increase(looks):
    with pytest.raises(UsageError, match="looks are increasing"):
        resolved({}, [], looks)
