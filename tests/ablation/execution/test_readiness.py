"""What does not fit is refused before the folder of a study knows of it; what is damaged is run again."""

import pytest

from research.ablation import Study, one_at_a_time
from research.ablation.execution.queue import Queue
from research.ablation.execution.readiness import prepared
from research.ablation.store.claims import Claims
from research.ablation.store.study_folder import Store
from research.ablation.strategies.halving import Rungs, judge, open_screening, read_decision, rung_file
from research.errors import UsageError
from research.experiment import RunOptions, replace
from research.training import metric_names
from tests.ablation.store.trials import finish

STUDY = Study(one_at_a_time({"model.dropout": (0.0,)}), seeds=1)


@pytest.mark.fault("F51")
@pytest.mark.parametrize(
    ("study", "message"),
    [
        (Study(one_at_a_time({"data.name": ("nonexistent",)}), seeds=1), "nonexistent"),
        (Study(one_at_a_time({"model.classes": (7,)}), seeds=1), "classes 7: "),
        (Study(STUDY.cells, seeds=1, metric="acuracy"), 'no metric "acuracy"; did you mean "accuracy"'),
        (Study(STUDY.cells, seeds=1, metric="acuracy", maximize=True), 'no metric "acuracy"; did you mean "accuracy"'),
        (Study(STUDY.cells, seeds=1, metrics=("macro_fl",)), 'no metric "macro_fl"; did you mean "macro_f1"'),
        (Study(STUDY.cells, seeds=1, metric="macro_f1"), "--maximize True or False"),
    ],
)
def test_a_refused_study_leaves_nothing_behind(experiment, tmp_path, study, message):
    new = tmp_path / "new"
    with pytest.raises(UsageError, match=message):
        prepared(new, experiment, study)
    assert not new.exists()
    prepared(tmp_path, experiment, STUDY)
    before = (tmp_path / "study.json").read_bytes()
    with pytest.raises(UsageError):
        prepared(tmp_path, experiment, study)
    assert (tmp_path / "study.json").read_bytes() == before
    prepared(tmp_path, experiment, STUDY)


def test_the_names_of_metrics_are_those_that_a_task_gives(experiment):
    assert {"loss", "accuracy", "top_3_accuracy", "macro_f1"} < set(metric_names(experiment))
    assert "top_2_accuracy" in metric_names(replace(experiment, {"task.top_k": 2}))


def test_a_damaged_result_is_run_again_where_that_is_asked_for(experiment, tmp_path):
    store = Store.open(tmp_path, experiment, STUDY)
    trial = store.final_trials()[0]
    finish(store, trial)
    result = store.folder(trial) / "result.json"
    result.write_text("{")
    with Claims() as claims:
        for retry, due in (((), 0), (("diverged",), 0), (("failed", "diverged"), 1)):
            queue = Queue(store, claims, retry, lambda outcome: True)
            jobs = queue.due([trial], "final")
            assert len(jobs) == due and result.exists()
        assert queue.claim(jobs[0]) is not None
        assert not result.exists(), "else it would be read again, and the run fail again"


@pytest.mark.parametrize("journal", ["null", "2.0"])
def test_a_cell_whose_loss_is_not_finite_is_judged_by_nothing(experiment, tmp_path, journal):
    """Its accuracy is the best of all."""
    options = RunOptions(evaluate_every=2)
    study = Study(one_at_a_time({"optimizer.learning_rate": (0.1, 0.2)}), seeds=1)
    store = open_screening(experiment, study, tmp_path, Rungs((2,)), options)
    for trial in store.final_trials():
        store.folder(trial).mkdir(parents=True)
        exploded = trial.cell.index == 2
        loss, accuracy = (journal, 0.9) if exploded else ("1.0", 0.5)
        line = f'{{"step": 2, "split": "validation", "loss": {loss}, "accuracy": {accuracy}}}\n'
        (store.folder(trial) / "metrics.jsonl").write_text(line)
    judge(store, store.cells(), 2, 0.5)
    assert read_decision(rung_file(store, 2))[1][1] == store.cells()[1 if journal == "null" else 2].name
