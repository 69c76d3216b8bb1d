"""What a study's folder holds, what may be added to it, and what a trial's files say."""

import math
import re

import pytest

from research.ablation import Study, grid, leave_one_out, one_at_a_time
from research.ablation.design.groups import groups
from research.ablation.store.claims import Claims
from research.ablation.store.study_folder import Store, write_status
from research.errors import RunError, UsageError
from research.experiment import replace
from research.models import CNN
from tests.ablation.store.trials import finish

STUDY = Study(one_at_a_time({"optimizer.learning_rate": (0.1, 0.2), "model.channels": ((3,),)}), seeds=3)


@pytest.fixture
def store(experiment, tmp_path):
    return Store.open(tmp_path, experiment, STUDY)


@pytest.mark.parametrize(
    "study",
    [
        STUDY,
        Study(leave_one_out({"clip": {"optimizer.clip_norm": 0.0}}), nuisance=grid({"seed": (0,)})[:0], margin=0.1),
        Study(one_at_a_time({"model": (CNN(channels=(7,)),)}), fixed={"steps": 5}, metrics=("accuracy", "loss")),
        Study((), nuisance=grid({"optimizer.learning_rate": (0.1, 0.2)}), metric="loss", description="Wie & was"),
    ],
)
def test_a_study_is_read_as_it_was_written(study, experiment, tmp_path):
    Store.open(tmp_path, experiment, study)
    held = Store(tmp_path)
    assert held.experiment == experiment and held.study == study
    assert [cell.labels for cell in held.study.cells] == [cell.labels for cell in study.cells]


def test_cells_and_seeds_are_added(experiment, tmp_path):
    """Trials keep their folders, and what is not asked for again stays: its results exist."""
    before = Store.open(tmp_path, experiment, STUDY)
    more = Study(one_at_a_time({"model.channels": ((3,),), "model.dropout": (0.0,)}), seeds=2, description="new")
    after = Store.open(tmp_path, experiment, more)
    assert after.study.seeds == 3 and len(after.study.cells) == 4
    assert Store(tmp_path).study == after.study
    kept = {before.folder(trial) for trial in before.final_trials()}
    folders = {after.folder(trial) for trial in after.final_trials()}
    assert kept < folders and len(folders) == 5 * 3
    assert Store.of(tmp_path, experiment, STUDY).study.cells == after.study.cells


@pytest.mark.parametrize(
    ("overrides", "study", "message"),
    [
        ({"model.dropout": 0.5}, STUDY, r"model.dropout: 0.2 -> 0.5"),
        ({}, Study(STUDY.cells, seeds=3, alpha=0.01), r"alpha: 0.05 -> 0.01"),
        ({}, Study(STUDY.cells, seeds=3, metric="loss"), r"metric: None -> 'loss'"),
        ({}, Study(STUDY.cells, seeds=3, fixed={"steps": 5}), r"fixed: {} -> {'steps': 5}"),
    ],
)
def test_a_different_study_is_refused(overrides, study, message, experiment, store):
    before = (store.root / "study.json").read_bytes()
    with pytest.raises(UsageError, match=message):
        Store.open(store.root, replace(experiment, overrides), study)
    assert (store.root / "study.json").read_bytes() == before


@pytest.mark.fault("F29")
@pytest.mark.parametrize("text", ["", "{}", '{"experiment": 3}', "[]", "\x00"])
def test_a_damaged_study_is_left_alone(text, experiment, tmp_path):
    (tmp_path / "study.json").write_text(text)
    for action in (lambda: Store(tmp_path), lambda: Store.open(tmp_path, experiment, STUDY)):
        with pytest.raises(RunError, match="study.json is damaged"):
            action()
    assert (tmp_path / "study.json").read_text() == text


@pytest.mark.fault("F35")
def test_a_space_more_in_a_file_of_a_study_is_noticed(store, caplog):
    """As in a run: so would another digit be good JSON."""
    trial = store.final_trials()[0]
    write_status(store.folder(trial), "failed", error="no room")
    for file in (store.root / "study.json", store.folder(trial) / "status.json"):
        with file.open("a") as end:
            end.write(" ")
    for _ in range(2):
        assert store.outcome(trial, "final").status == "planned", "what came of it is not known, so it is run again"
    (record,) = caplog.records
    assert re.search(r"status\.json is damaged: it is not what was written", record.message)
    with pytest.raises(RunError, match=r"study\.json is damaged: it is not what was written"):
        Store(store.root)


def test_no_study(tmp_path):
    with pytest.raises(RunError, match="holds no study"):
        Store(tmp_path)


def test_outcomes(store):
    """Every status, from the files alone."""
    planned, done, diverged, failed, running, killed, unread = store.final_trials()[:7]
    finish(store, done)
    finish(store, diverged, loss=math.inf)
    write_status(store.folder(failed), "failed", error="no room", traceback="Traceback ...", mode="loop")
    for trial in (running, killed, done):
        write_status(store.folder(trial), "running", mode="vmap", group="g")
    store.folder(unread).mkdir(parents=True)
    (store.folder(unread) / "status.json").write_text('{"status": "do')
    with Claims() as claims:
        claims.acquire(store.folder(running))
        found = {outcome.folder: outcome for outcome in store.outcomes()}
    expected = ["planned", "done", "diverged", "failed", "running", "planned", "planned"]
    trials = (planned, done, diverged, failed, running, killed, unread)
    assert [found[store.folder(trial)].status for trial in trials] == expected
    assert len(found) == 4 * 3
    good, bad, broken = (found[store.folder(trial)] for trial in (done, diverged, failed))
    assert good.metrics["test"] == {"loss": 1.0, "accuracy": 0.5} and good.seconds == {"total": 2.5}
    assert (good.cell, good.name, good.seed, good.phase) == (done.cell.index, done.cell.name, done.seed, "final")
    assert (good.mode, good.group, good.device, good.commit, good.parameters) == (
        "vmap",
        "g",
        "abacus x 1",
        "c0ffee",
        7,
    )
    assert good.finished and bad.finished and not broken.finished
    assert (broken.error, broken.traceback, broken.metrics) == ("no room", "Traceback ...", {})
    assert found[store.folder(running)].attempt == 1


@pytest.mark.fault("F29")
def test_a_damaged_result_is_a_failure(store):
    trial = store.final_trials()[0]
    finish(store, trial)
    (store.folder(trial) / "result.json").write_text("{")
    outcome = store.outcome(trial, "final")
    assert outcome.status == "failed" and "result.json is damaged" in outcome.error


def test_groups_are_programs(store):
    """Learning rates and seeds share one; another width is another, and so is another number of steps."""
    first, second = groups(store.final_trials())
    assert first.cells == ("baseline", "learning_rate 0.1", "learning_rate 0.2") and len(first.trials) == 9
    assert second.cells == ("channels (3)",) and len(second.trials) == 3
    assert first.name != second.name
    longer = Store.of("elsewhere", replace(store.experiment, {"steps": 13}), STUDY)
    assert groups(longer.final_trials())[0].name != first.name
    assert groups(reversed(store.final_trials()))[1].name == first.name


def test_tuned_cells(experiment, tmp_path):
    """The best on validation wins in each cell; final trials exist once all that decide are known."""
    study = Study(
        one_at_a_time({"model.dropout": (0.0,)}),
        nuisance=grid({"optimizer.learning_rate": (0.1, 0.2)}),
        seeds=2,
        tuning_seeds=2,
    )
    store = Store.open(tmp_path, experiment, study)
    assert len(store.tuning_trials) == 2 * 2 * 2 and store.cells() == () and len(store.outcomes()) == 8
    for trial in store.tuning_trials[:-1]:
        rate = trial.experiment.optimizer.learning_rate
        finish(store, trial, accuracy=rate if trial.cell.name.startswith("baseline") else 1 - rate)
    assert store.final_trials() == ()
    write_status(store.folder(store.tuning_trials[-1]), "failed")
    rates = [cell.experiment.optimizer.learning_rate for cell in store.cells()]
    assert rates == [0.2, 0.1]
    outcomes = store.outcomes()
    assert [outcome.phase for outcome in outcomes] == ["tuning"] * 8 + ["final"] * 4
    assert outcomes[-1].tuned == "learning_rate 0.1"
    assert len({outcome.folder for outcome in outcomes}) == 12
