import dataclasses
import importlib
import pkgutil

import numpy as np
import pytest

import research
from research import data, models, optimization, tasks
from research import experiment as values
from research.errors import UsageError
from research.experiment import RunOptions, spec, vocabulary


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


def test_no_two_values_share_a_class_name():
    """Neither public values among each other, nor with any other class: JSON and errors name them by that alone."""
    packages = (models, tasks, data, optimization, values)
    public = [item for package in packages for item in vars(package).values() if dataclasses.is_dataclass(item)]
    names = {item.__name__: item for item in public if isinstance(item, type)}
    assert set(names.values()) == {item for item in public if isinstance(item, type)}
    assert vocabulary().items() <= names.items()
    known: dict[str, type] = {}
    for module in pkgutil.walk_packages(research.__path__, "research."):
        for item in vars(importlib.import_module(module.name)).values():
            if not isinstance(item, type) or not item.__module__.startswith("research."):
                continue
            if dataclasses.is_dataclass(item) or item.__name__ in names:
                assert known.setdefault(item.__name__, item) is item, (item, known[item.__name__])
