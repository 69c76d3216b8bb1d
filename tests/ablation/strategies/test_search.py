"""Searches: what is asked, run and told, and that a killed one resumes as if nothing had been."""

import csv
import math
import shutil

import pytest

from research.ablation import Study, choice, integers, log_uniform, uniform
from research.ablation.design.parsing import parse_space
from research.ablation.design.space import TOP
from research.ablation.design.study import TUNING
from research.ablation.execution import running
from research.ablation.store.claims import Claims
from research.ablation.store.study_folder import Store
from research.ablation.strategies.memory import Memory
from research.ablation.strategies.search import search
from research.errors import RunError, UsageError
from research.experiment import RunOptions, replace
from research.training import train
from research.training.storage import sealed

optuna = pytest.importorskip("optuna")

SPACE = {"optimizer.learning_rate": log_uniform(1e-5, 1e-1), "optimizer.b1": uniform(0.5, 0.95)}


@pytest.fixture(scope="module")
def base(experiment):
    return replace(experiment, {"steps": 4, "model.channels": (3,), "data.shift": 0})


@pytest.fixture(scope="module")
def options(data_dir):
    return RunOptions(data_dir=data_dir, evaluate_every=0, progress="none")


@pytest.fixture
def trained(monkeypatch):
    """The experiments that were begun."""
    begun = []

    def counted(experiment, *arguments):
        begun.append(experiment)
        return train(experiment, *arguments)

    monkeypatch.setattr(running, "train", counted)
    return begun


def run(base, root, options, trials=5, batch=2, **changes):
    changes = {"seeds": 1, "metric": "loss"} | changes
    return search(base, SPACE, root, trials, batch, options, "loop", **changes)


@pytest.fixture(scope="module")
def whole(base, options, tmp_path_factory):
    root = tmp_path_factory.mktemp("search")
    return root, run(base, root, options)


def test_the_best_on_validation_wins(whole):
    root, found = whole
    assert len(found.tried) == 5 and found.metric == "loss"
    assert all(1e-5 <= item.setting["optimizer.learning_rate"] < 1e-1 for item in found.tried)
    by_setting = {
        (outcome.cell, outcome.seed): outcome.metrics["validation"]["loss"] for outcome in Store(root).outcomes()
    }
    assert [by_setting[number + 1, TUNING] for number in range(5)] == [item.value for item in found.tried]
    assert by_setting[0, TUNING] == found.baseline.value
    assert found.best.value == min(item.value for item in found.tried)
    with (root / "search.csv").open() as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["trial", "validation loss", *SPACE] and len(rows) == 7
    assert rows[1] == ["baseline", str(found.baseline.value), "", ""]
    assert float(rows[2][2]) == found.tried[0].setting["optimizer.learning_rate"]


def test_what_is_finished_is_not_run_again_and_more_can_be_asked_for(whole, base, options, trained):
    root, before = whole
    assert run(base, root, options) == before
    assert trained == []
    more = run(base, root, options, trials=7)
    assert more.tried[:5] == before.tried and len(more.tried) == 7
    assert len(trained) == 2


def test_killed_at_any_trial_it_asks_the_same(base, options, tmp_path, monkeypatch):
    """A kill comes before every run but the last ones of a batch, and leaves trials asked for and not told."""
    undisturbed = run(base, tmp_path / "whole", options, trials=4)
    begun, asked = [], []

    def stopping(experiment, folder, *arguments):
        begun.append(folder)
        asked.append(len(Store(tmp_path / "parts").study.cells))
        if len(begun) % 2:
            raise KeyboardInterrupt
        return train(experiment, folder, *arguments)

    monkeypatch.setattr(running, "train", stopping)
    for _ in range(20):
        try:
            found = run(base, tmp_path / "parts", options, trials=4)
            break
        except KeyboardInterrupt:
            pass
    assert found == undisturbed
    assert len(begun) == 2 * 5 and len(set(begun)) == 5
    assert asked == [2] * 6 + [4] * 4  # a second batch only when the first, with the baseline, is told


def test_what_another_process_is_asking_for_is_not_told_yet(whole, base):
    root, _ = whole
    memory = Memory(base, Study(seeds=1, metric="loss", split="validation"), SPACE, root)
    asking = memory._study.ask()  # without a setting so far
    memory.tell(Store.of(root, memory.experiment, memory.study()))
    assert [trial.number for trial in memory._in_state("RUNNING")] == [asking.number]
    memory._study.tell(asking.number, state=optuna.trial.TrialState.FAIL)


def test_what_another_process_tells_at_the_same_moment_is_told_once(base, options, tmp_path, monkeypatch):
    study = Study(seeds=1, metric="loss", split="validation")
    ours, theirs = (Memory(base, study, SPACE, tmp_path) for _ in range(2))
    with Claims() as claims:
        ours.next_batch(claims, 2, 2, lambda: False)
    store = running.ablate(ours.experiment, ours.study(), tmp_path, options, "loop")
    storage = ours._study._storage
    write = storage.set_trial_state_values

    def late(*arguments):
        theirs.tell(store)
        return write(*arguments)

    monkeypatch.setattr(storage, "set_trial_state_values", late)
    ours.tell(store)
    assert not ours._in_state("RUNNING")
    assert all(math.isfinite(item.value) for item in ours.found().tried)


def test_a_setting_that_diverges_or_fails_is_told_as_failed(base, options, tmp_path, monkeypatch):
    def fragile(experiment, *arguments):
        if experiment.optimizer.learning_rate > 1:
            raise MemoryError("none left")
        return train(experiment, *arguments)

    monkeypatch.setattr(running, "train", fragile)
    space = {"optimizer.learning_rate": choice((2.0, 1e-3, 3.0))}
    found = search(base, space, tmp_path, 6, 6, options, "loop", seeds=1)
    rates = [item.setting["optimizer.learning_rate"] for item in found.tried]
    assert max(rates) > 1 and found.best.setting["optimizer.learning_rate"] < 1
    assert [math.isnan(item.value) for item in found.tried] == [rate > 1 for rate in rates]
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "optuna.jsonl")))
    (study,) = optuna.get_all_study_summaries(storage)
    states = [trial.state.name for trial in optuna.load_study(study_name=study.study_name, storage=storage).trials]
    assert states == ["FAIL" if rate > 1 else "COMPLETE" for rate in rates]


@pytest.mark.fault("F35")
def test_a_digit_that_is_changed_in_the_record_is_noticed(base, options, whole, tmp_path):
    """As in any other file; a record of an older release has no digests until it is read once."""
    root = shutil.copytree(whole[0], tmp_path / "search")
    record, digests = root / "optuna.jsonl", root / sealed.NAME
    digests.write_text("".join(line for line in digests.read_text().splitlines(True) if '"line"' not in line))
    run(base, root, options)
    text = record.read_text()
    place = text.index(":0.") + 3
    record.write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])
    with pytest.raises(RunError, match=r"optuna\.jsonl is damaged: it is not what was written"):
        run(base, root, options)
    record.write_text("{" + text)
    with pytest.raises(RunError, match=r"optuna\.jsonl is damaged"):
        run(base, root, options)


def test_spaces_from_text(experiment):
    texts = [
        "optimizer.learning_rate=log_uniform(1e-4, 1e-1)",
        "model.dropout = uniform(0,0.5)",
        "batch_size=integers(8,16)",
        "optimizer.algorithm=choice(adamw,sgd)",
        "model.dense=choice((7,),(5,3))",
    ]
    space = parse_space(experiment, texts)
    expected = {
        "optimizer.learning_rate": log_uniform(1e-4, 1e-1),
        "model.dropout": uniform(0.0, 0.5),
        "batch_size": integers(8, 16),
        "optimizer.algorithm": choice(("adamw", "sgd")),
        "model.dense": choice(((7,), (5, 3))),
    }
    assert space.keys() == expected.keys()
    for u in (0.0, 0.2, 0.7, TOP):
        assert {path: space[path](u) for path in space} == {path: expected[path](u) for path in space}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model.dropout", 'a space is path=log_uniform(low,high) or the like, not "model.dropout"'),
        ("model.dropout=0,0.5", "a space is path=log_uniform"),
        ("model.dropout=uniform(0)", "uniform takes two numbers, not (0)"),
        ("model.dropout=uniform(0,much)", "uniform takes two numbers, not (0,much)"),
        ("model.dropout=unifrom(0,1)", 'no distribution "unifrom"; did you mean "uniform"'),
        ("model.dropout=log_uniform(0,1)", "log_uniform needs bounds above 0"),
        ("model.dropout=uniform(0,2)", "model.dropout must be in [0, 1), not"),
        ("model.dropuot=uniform(0,1)", 'no "model.dropuot"; did you mean "model.dropout"'),
        ("batch_size=uniform(1,9)", "batch_size must be int"),
        ("optimizer.algorithm=choice(adam,adan)", "optimizer.algorithm must be"),
        ("seed=integers(1,9)", "none may set its own"),
    ],
)
def test_a_space_that_does_not_fit_is_refused(experiment, text, message):
    with pytest.raises(UsageError) as error:
        parse_space(experiment, [text])
    assert message in str(error.value) and "\n" not in str(error.value)


def test_another_search_is_refused(whole, base, options):
    root, _ = whole
    with pytest.raises(UsageError, match="another sampler seed"):
        run(base, root, options, sampler_seed=1)
    with pytest.raises(UsageError, match="another space"):
        search(base, {"optimizer.b1": uniform(0.5, 0.9)}, root, 5, 2, options, seeds=1, metric="loss")
    with pytest.raises(UsageError, match="another seeds"):
        run(base, root, options, seeds=2)
    with pytest.raises(UsageError, match="at least one trial"):
        run(base, root, options, trials=0)
