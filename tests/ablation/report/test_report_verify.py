"""A trial that is run again has the very same numbers, and a changed record is found out."""

import contextlib
import json

import pytest

from research import training
from research.ablation import Study, one_at_a_time
from research.ablation.store.study_folder import Store
from research.ablation.verify import verify
from research.errors import UsageError
from research.experiment import RunOptions, replace
from research.training.storage import sealed


def test_verify(experiment, data_dir, tmp_path, monkeypatch):
    study = Study(one_at_a_time({"model.dropout": (0.5,)}), seeds=2)
    store = Store.open(tmp_path, replace(experiment, {"steps": 3}), study)
    options = RunOptions(data_dir=data_dir, progress="none")
    trial = next(trial for trial in store.final_trials() if trial.cell.index == 1)
    training.train(trial.experiment, store.folder(trial), options)
    again = verify(store, "dropout 0.5", 0, options)
    assert again.equal
    assert again.differences["test accuracy"] == 0
    assert str(again).endswith(f"all {len(again.differences)} numbers are exactly equal")
    assert "alone on cpu x 1" in str(again)

    file = store.folder(trial) / "result.json"
    result = json.loads(file.read_text())
    result["metrics"]["test"]["loss"] += 0.25
    result["metrics"]["test"]["accuracy"] = None  # not a finite number
    sealed.write(file, json.dumps(result))
    again = verify(store, "dropout 0.5", 0, options)
    assert not again.equal
    assert again.differences["test loss"] == pytest.approx(0.25)
    assert "these differ: test accuracy by nan, test loss by 0.25" in str(again)

    monkeypatch.setattr("research.ablation.verify.divided", lambda count: [count])
    monkeypatch.setattr("research.ablation.verify.cores", lambda: 6)
    monkeypatch.setattr("research.ablation.verify.kept_to", lambda part: contextlib.nullcontext(parts.append(part)))
    parts, file = [], store.folder(trial) / "environment.json"
    sealed.write(file, json.dumps({**json.loads(file.read_text()), "cores": 2}))
    assert "on cpu x 1 of 2 cores" in str(verify(store, "dropout 0.5", 0, options))
    file.unlink()
    verify(store, "dropout 0.5", 0, options)
    assert parts == [3, frozenset()], "it had a third of the cores there are, and of the other one that is not known"

    with pytest.raises(UsageError, match='no cell "dropuot 0.5"; did you mean "dropout 0.5"'):
        verify(store, "dropuot 0.5", 0)
    with pytest.raises(UsageError, match="no seed 2; its seeds are 0 to 1"):
        verify(store, "dropout 0.5", 2)
    with pytest.raises(UsageError, match="has no result to compare with: it is planned"):
        verify(store, "baseline", 0)
