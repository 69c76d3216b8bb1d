import dataclasses

import numpy as np
import pytest

from research.errors import UsageError
from research.experiment import (
    RunOptions,
    spec,
)


def test_an_experiment_is_frozen(experiment):
    with pytest.raises(dataclasses.FrozenInstanceError):
        experiment.steps = 3


def test_spec_is_the_shape_of_one_batch(experiment):
    shapes = {name: (item.shape, item.dtype) for name, item in spec(experiment).items()}
    assert shapes == {"image": ((17, 8, 8, 1), np.uint8), "label": ((17,), np.int32)}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"log_every": 0}, "log_every must be at least 1"),
        ({"evaluate_every": -1}, "evaluate_every must be .*, not -1"),
        ({"stop_after": 0}, "stop_after must be at least 1"),
        ({"residency": "disk"}, 'residency must be "auto" or "ram"'),
        ({"progress": True}, "progress must be"),
        ({"data_dir": 3}, "data_dir must be str or None"),
    ],
)
def test_run_options_are_checked(options, message):
    with pytest.raises(UsageError, match=message):
        RunOptions(**options)
    assert RunOptions(evaluate_every=0, stop_after=None).log_every == 50
