"""What a study's folder remembers of its plan: looks, seeds that were added after looking, cells taken out."""

import json
import math

import pytest

from research.ablation import Study, grid, one_at_a_time
from research.ablation.design.axes import Overrides
from research.ablation.report import tabulate
from research.ablation.store.history import History
from research.ablation.store.study_folder import SEARCH, Store, check_testable
from research.ablation.strategies.sequential import looking, verdicts_so_far
from research.errors import UsageError
from tests.ablation.store.trials import finish

STUDY = Study(one_at_a_time({"model.dropout": (0.0, 0.1)}), seeds=2)
SAID = "The number of seeds was not fixed beforehand"


def finish_all(store, better="dropout 0.0"):
    """Finish what is missing; one cell is better in every seed."""
    for trial in store.final_trials():
        if not (store.folder(trial) / "result.json").exists():
            finish(store, trial, accuracy=0.5 + trial.seed / 100 + 0.3 * (trial.cell.name == better))


@pytest.mark.fault("F49")
def test_seeds_that_are_added_after_looking_are_remembered_and_said(experiment, tmp_path):
    store = Store.open(tmp_path, experiment, STUDY)
    assert Store.open(tmp_path, experiment, Study(STUDY.cells, seeds=4)).history == History(), "nobody has looked"
    finish_all(Store(tmp_path))
    for seeds in (4, 6, 8, 2):
        store = Store.open(tmp_path, experiment, Study(STUDY.cells, seeds=seeds))
    assert store.study.seeds == 8 and Store(tmp_path).history.seeds == (4, 6)
    finish_all(store)
    said = [remark for remark in tabulate(Store(tmp_path))[0].remarks if remark.startswith(SAID)]
    assert len(said) == 1 and "it was 4, then 6, then 8, with results known" in said[0]


def test_a_plan_of_looks_is_made_before_anything_and_kept(experiment, tmp_path):
    planned = looking(STUDY, 8)
    assert planned.looks == (2, 4, 8) and looking(STUDY, 2) == STUDY and looking(planned, 8) == planned
    Store.open(tmp_path, experiment, planned)
    assert json.loads((tmp_path / "study.json").read_text())["looks"] == [2, 4, 8]
    finish_all(Store(tmp_path))
    plain = Store.open(tmp_path, experiment, Study(STUDY.cells, seeds=4))
    assert plain.study.looks == (2, 4, 8) and plain.history == History(), "a look of the plan"
    finish_all(plain)
    found = tabulate(Store(tmp_path))[0]
    assert "Looks at 2, 4, 8 seeds were fixed before the first run" in found.remarks[0]
    assert {row.entries[0].verdict for row in found.rows[1:]} == {"open"} == set(verdicts_so_far(plain).values())
    for study, message in (
        (Study(STUDY.cells, seeds=6), "6 is none of them: --until_resolved 8 continues it"),
        (looking(STUDY, 4), "was begun with looks at 2, 4, 8 seeds in its plan"),
    ):
        with pytest.raises(UsageError, match=message):
            Store.of(tmp_path, experiment, study)
    last = Store.open(tmp_path, experiment, Study(STUDY.cells, seeds=8))
    finish_all(last)
    (better, other) = (row.entries[0] for row in tabulate(last)[0].rows[1:])
    assert better.corrected_p == pytest.approx(2 * 3 * 2 / 256)  # two cells, three looks
    assert (better.verdict, other.verdict) == ("better", "open")
    assert verdicts_so_far(last) == {"dropout 0.0": "different", "dropout 0.1": "open"}


def test_no_plan_is_made_once_results_are_there(experiment, tmp_path):
    Store.open(tmp_path, experiment, STUDY)
    assert Store.of(tmp_path, experiment, looking(STUDY, 4)).study.looks == (2, 4), "nothing has ended yet"
    finish_all(Store(tmp_path))
    with pytest.raises(
        UsageError, match="begun with no further looks in its plan, so looks at 2, 4 seeds are not fixed"
    ):
        Store.of(tmp_path, experiment, looking(STUDY, 4))


def test_a_cell_is_dropped_for_good(experiment, tmp_path):
    finish_all(Store.open(tmp_path, experiment, STUDY))
    store = Store.of(tmp_path, experiment, STUDY, drop=["dropout 0.1"])
    assert len(Store(tmp_path).cells()) == 3, "nothing is written yet"
    store.save()
    for again in (Store(tmp_path), Store.open(tmp_path, experiment, STUDY)):
        assert [cell.name for cell in again.cells()] == ["baseline", "dropout 0.0"]
        assert list(again.history.dropped) == ["dropout 0.1"]
    assert Store.of(tmp_path, experiment, STUDY, drop=["dropout 0.1"]).study == store.study
    found = tabulate(Store(tmp_path))[0]
    assert "Dropped from the study, shown and counted nowhere: dropout 0.1." in found.remarks[-1]
    assert found.columns[0].tests == 1 and len(list((tmp_path / "trials").iterdir())) == 6
    for name in ("dropout 0.2", "baseline"):
        with pytest.raises(UsageError, match=f'no cell of .* is called "{name}"'):
            Store.of(tmp_path, experiment, STUDY, drop=[name])


def test_a_cell_has_the_name_that_it_is_given_last(experiment, tmp_path):
    finish_all(Store.open(tmp_path, experiment, STUDY))
    named = Overrides({"model.dropout": 0.0}, [("plain", ("model.dropout",))])
    store = Store.open(tmp_path, experiment, Study((named,), seeds=2))
    assert [cell.name for cell in store.cells()] == ["baseline", "plain", "dropout 0.1"]
    assert [outcome.status for outcome in store.outcomes()] == ["done"] * 6


def test_a_setting_that_diverged_never_wins(experiment, tmp_path):
    """Where one class is common, a run whose loss is no longer finite can have the best accuracy of all."""
    study = Study(nuisance=grid({"optimizer.learning_rate": (0.1, 0.2)}), seeds=1, tuning_seeds=2)
    store = Store.open(tmp_path, experiment, study)
    for trial in store.tuning_trials:
        exploded = trial.experiment.optimizer.learning_rate == 0.2 and trial.seed % 2
        finish(store, trial, accuracy=0.9 if exploded else 0.5, loss=math.nan if exploded else 1.0)
    assert [cell.tuned for cell in store.cells()] == ["learning_rate 0.1"]


@pytest.mark.fault("F50")
def test_a_search_is_never_tested(experiment, tmp_path):
    store = Store.open(tmp_path, experiment, STUDY)
    finish_all(store)
    check_testable(tmp_path)
    (tmp_path / SEARCH).write_text("")
    with pytest.raises(UsageError, match="holds a search, which picked its settings by the very scores"):
        tabulate(store)
