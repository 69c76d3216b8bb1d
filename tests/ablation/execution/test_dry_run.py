"""What a dry run compiles."""

import sys

import pytest

from research.ablation import Study, describe_plan, grid, one_at_a_time
from research.ablation.execution import dry_run
from research.ablation.execution.modes.measuring import Measurement
from research.experiment import RunOptions

STUDY = Study(one_at_a_time({"model.channels": ((5,), (7,))}), seeds=1)


@pytest.mark.parametrize("nuisance", [(), grid({"optimizer.learning_rate": (0.1, 0.2)})])
@pytest.mark.parametrize(("timed", "compiled"), [(0, 0), (1, 1), (2, 2), (sys.maxsize, 3)])
def test_as_many_programs_are_compiled_as_was_asked_for(
    timed, compiled, nuisance, experiment, data_dir, tmp_path, monkeypatch
):
    """Three programs: a plan took longer than some studies."""
    asked = []

    def measure(experiments, splits, options, mode, size):
        asked.append(experiments)
        return Measurement("loop", 1, 2.0, 1.0, 100)

    monkeypatch.setattr(dry_run, "measure", measure)
    study = Study(STUDY.cells, nuisance, seeds=1, tuning_seeds=1)
    text = describe_plan(experiment, study, tmp_path, RunOptions(data_dir=data_dir), timed)
    assert len(asked) == compiled and "3 programs to compile" in text
    assert text.count("counting steps alone") == compiled
    assert ("trials of unknown time" in text) == (compiled < 3)
