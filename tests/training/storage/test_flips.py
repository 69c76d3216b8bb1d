"""Sixty flipped bits in a run, and sixty in a study: none is silent. `benchmarks.flips` flips more."""

import pytest

from benchmarks import flips
from research.experiment import RunOptions, replace


@pytest.mark.slow
@pytest.mark.fault("F35")
@pytest.mark.parametrize("make", [flips.run_of, flips.study_of])
def test_no_flipped_bit_is_silent(make, experiment, data_dir, tmp_path):
    """It takes long for a study, of which each flip asks the report and the states of all trials."""
    small = replace(experiment, {"steps": 4, "model.channels": (3,)})
    options = RunOptions(data_dir=data_dir, progress="none", pictures=False, evaluate_every=2, checkpoint_every=2)
    ask = make(tmp_path / "whole", small, options)
    found = list(flips.flips(tmp_path / "whole", ask, 60))
    assert not [told for told in found if told.how not in ("detected", "harmless")]
    hit = {told.file.rpartition("/")[2] for told in found if told.how == "detected"}
    assert {"experiment.json", "result.json", "code.json"} <= hit if make is flips.run_of else "study.json" in hit
