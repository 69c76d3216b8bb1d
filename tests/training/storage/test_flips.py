"""Flipped bits in runs, a study and a search: none is silent. `benchmarks.flips` flips more."""

import pytest

from benchmarks import flips
from research.experiment import RunOptions, replace


@pytest.mark.slow
@pytest.mark.fault("F35")
@pytest.mark.parametrize(
    ("name", "count", "named"),
    [
        ("run", 60, {"experiment.json", "result.json", "code.json"}),
        ("stopped", 30, {"experiment.json", "metrics.jsonl", "environment.json"}),
        ("study", 60, {"study.json", "status.json", "result.json"}),
        ("search", 40, {"study.json", "status.json", "optuna.jsonl"}),
    ],
)
def test_no_flipped_bit_is_silent(name, count, named, experiment, data_dir, tmp_path):
    """It takes long for a study, of which each flip asks the report and the states of all trials."""
    small = replace(experiment, {"steps": 4, "model.channels": (3,)})
    options = RunOptions(data_dir=data_dir, progress="none", pictures=False, evaluate_every=2, checkpoint_every=2)
    if name == "search":
        pytest.importorskip("optuna")
    ask = flips.MADE[name](tmp_path / "whole", small, options)
    found = list(flips.flips(tmp_path / "whole", ask, count))
    assert not [told for told in found if told.how not in ("detected", "harmless")]
    hit = {told.file.rpartition("/")[2] for told in found if told.how == "detected"}
    assert named <= hit
