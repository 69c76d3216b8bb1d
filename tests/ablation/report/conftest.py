"""What the tests of reports look at."""

import functools

import pytest

from research.ablation.report import table
from tests.ablation.report.outcomes import BASELINE, BETTER, study_of


@pytest.fixture(scope="module")
def make(experiment):
    """Outcomes, cells and study from one row of values a cell, the baseline's first."""
    return functools.partial(study_of, experiment)


@pytest.fixture(scope="module")
def found(make):
    return table(*make(BASELINE, BETTER), "found")
