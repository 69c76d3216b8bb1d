"""What a small study is made of."""

import pytest

from research.experiment import RunOptions, replace


@pytest.fixture(scope="module")
def base(experiment):
    return replace(experiment, {"steps": 4, "model.channels": (3,)})


@pytest.fixture(scope="module")
def options(data_dir):
    return RunOptions(data_dir=data_dir, log_every=2, evaluate_every=3, progress="lines")
