"""Studies that earlier versions wrote are read; `tests/fixtures/study.json` is as commit 0faec0e wrote it."""

import json
from pathlib import Path

from research.ablation.design.study import plan
from research.ablation.store.recording import read_study, write_study
from research.experiment import fingerprint

WRITTEN = Path(__file__).parents[2] / "fixtures" / "study.json"


def test_the_cells_of_an_earlier_version_are_the_same_trials(tmp_path):
    experiment, study, history = read_study(WRITTEN)
    found = [fingerprint(cell.experiment) for cell in plan(experiment, study)]
    assert found == list(json.loads(WRITTEN.read_text())["plan"].values()) and len(set(found)) == 8
    write_study(tmp_path / "study.json", experiment, study)
    assert read_study(tmp_path / "study.json") == (experiment, study, history)
