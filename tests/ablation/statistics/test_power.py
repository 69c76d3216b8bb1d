"""Power against simulation and statsmodels, and seeds needed against power."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.power import TTestPower

from research.ablation.statistics.comparison import t_test
from research.ablation.statistics.power import difference_sd, forecast, power, sd_interval, seeds_needed
from research.errors import UsageError


@pytest.mark.parametrize(
    ("n", "effect", "alpha"), [(3, 0.9, 0.05), (5, 0.5, 0.05), (8, 0.7, 0.05 / 6), (13, -0.3, 0.2)]
)
def test_power_equals_the_share_of_simulated_studies_that_claim(n, effect, alpha):
    draws = 40_000
    differences = np.random.default_rng(n).normal(effect, 0.6, (draws, n))
    share = (t_test(differences) <= alpha).mean()
    assert abs(power(0.6, effect, n, alpha) - share) < 3 * math.sqrt(share * (1 - share) / draws)


@pytest.mark.parametrize("n", [2, 5, 11])
@pytest.mark.parametrize("effect", [0.1, 0.7, 1.9])
def test_power_equals_statsmodels(n, effect):
    np.testing.assert_allclose(power(0.5, effect / 2, n), TTestPower().power(effect, n, 0.05), atol=1e-6)


def test_power_is_defined_everywhere_and_grows():
    """SciPy's noncentral t has holes; a warning would be an error here."""
    n = np.concatenate([np.arange(2, 200), 2 ** np.arange(8, 36, 3)])
    effects = np.geomspace(1e-5, 1e5, 41)[:, None]
    for alpha in (0.05, 0.05 / 100):
        found = power(1.0, effects, n, alpha)  # [effects, n]
        assert ((found >= alpha) & (found <= 1 + 1e-12)).all()
        assert (np.diff(found, axis=0) > -1e-9).all() and (np.diff(found, axis=1) > -1e-9).all()
    assert np.isnan(power(1.0, 1.0, 1))


@given(st.floats(0.01, 3), st.floats(0.05, 3), st.sampled_from([0.5, 0.8, 0.95]))
def test_the_seeds_needed_are_the_fewest(sd, effect, target):
    n = seeds_needed(sd, effect, target)
    assert power(sd, effect, n) >= target
    assert n == 2 or power(sd, effect, n - 1) < target


def test_paired_differences_spread_as_said():
    values = np.random.default_rng(0).multivariate_normal([0, 0], [[4, 3], [3, 4]], 200_000)
    assert abs((values[:, 0] - values[:, 1]).std() / difference_sd(2.0, 0.75) - 1) < 0.01


@pytest.mark.parametrize("n", [2, 5, 9])
def test_intervals_of_a_standard_deviation_cover(n):
    draws = 20_000
    found = np.random.default_rng(n).normal(0, 3.0, (draws, n)).std(axis=1, ddof=1)
    unit = sd_interval(1.0, n, 0.9)
    covered = ((unit.low * found < 3.0) & (unit.high * found > 3.0)).mean()
    assert abs(covered - 0.9) < 3 * math.sqrt(0.09 / draws)


def test_a_forecast_by_hand():
    """Values 1, 2, 3: sd 1, so paired differences spread by sqrt(2 * 0.5) = 1 at a correlation of 0.5."""
    found = forecast([3.0, 1.0, 2.0], effect=1.0, correlation=0.5)
    assert math.isclose(found.sd, 1.0)
    np.testing.assert_allclose(found.sd_interval, np.sqrt(2 / np.array([7.377759, 0.050636])), rtol=1e-5)
    assert found.seeds == 10
    assert found.seeds_interval == tuple(seeds_needed(bound, 1.0) for bound in found.sd_interval)


@pytest.mark.parametrize(
    "ask",
    [
        lambda: power(0.0, 1.0, 5),
        lambda: power(1.0, 1.0, 5, alpha=0.0),
        lambda: seeds_needed(1.0, 0.0),
        lambda: seeds_needed(1.0, 1.0, target=1.0),
        lambda: difference_sd(1.0, 1.0),
        lambda: sd_interval(1.0, 1),
        lambda: forecast([1.0], 1.0),
        lambda: forecast([1.0, math.nan], 1.0),
        lambda: forecast([2.0, 2.0], 1.0),
    ],
)
def test_a_question_without_an_answer_is_refused(ask):
    with pytest.raises(UsageError):
        ask()
