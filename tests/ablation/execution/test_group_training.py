"""A run of a group is that run alone, whatever the mode, the chunk and its neighbours."""

import dataclasses
import importlib.util
import json
import shutil
import time

import chex
import jax
import numpy as np
import pytest

from research.ablation.execution import group_training
from research.ablation.execution.datasets import SharedSplits
from research.ablation.execution.group_training import stacked_hyperparameters, train_together
from research.data import Images, Sequences
from research.devices import compile_for, compile_together
from research.experiment import Experiment, RunOptions, replace, split
from research.models import CNN, RecurrentClassifier
from research.optimization import Optimizer
from research.tasks import Classification
from research.training import Interrupted, restore, train, train_step
from research.training.loop import open_splits
from research.training.recorder import Recorder
from research.training.storage.folder import Folder
from research.training.storage.lineage import Lineage, total_process_seconds
from research.training.storage.liveness import kernel
from tests.training.storage.test_lock import leave, owner

RUNS = ({"seed": 3}, {"seed": 5, "optimizer.learning_rate": 0.05}, {"seed": 3, "model.dropout": 0.4, "data.noise": 0.2})


@pytest.fixture(scope="module")
def base():
    return Experiment(
        model=CNN(channels=(3,), dense=(7,), dropout=0.2),
        task=Classification(),
        data=Images("digits", noise=0.05),
        optimizer=Optimizer("adamw", learning_rate=0.02, warmup=2, weight_decay=0.01, clip_norm=1.0, ema=0.8),
        steps=7,
        batch_size=257,
    )


@pytest.fixture(scope="module")
def experiments(base):
    return [replace(base, overrides) for overrides in RUNS]


@pytest.fixture(scope="module")
def options(data_dir):
    return RunOptions(data_dir=data_dir, log_every=2, evaluate_every=3, checkpoint_every=4, progress="none")


@pytest.fixture(scope="module")
def splits(base, options):
    return open_splits(base, options)


@pytest.fixture(scope="module")
def alone(experiments, options, splits, tmp_path_factory):
    """The folder of each run by itself."""
    root = tmp_path_factory.mktemp("alone")
    for index, experiment in enumerate(experiments):
        train(experiment, root / str(index), options, splits)
    return [root / str(index) for index in range(len(experiments))]


@pytest.fixture
def together(options, splits, tmp_path):
    """Train experiments together; return {number: result or error} and their folders."""

    def run(experiments, mode="vmap", size=3, options=options, interrupted=lambda: False, name=None):
        found = {}
        folders = [tmp_path / (name or mode) / str(index) for index in range(len(experiments))]
        train_together(experiments, folders, splits, options, mode, size, interrupted, found.__setitem__)
        return found, folders

    return run


def lines(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def files(folder):
    """Names of all files but those that Orbax numbers as it likes."""
    kept = {path.name for kind in ("latest", "best") for path in (folder / "checkpoints" / kind).iterdir()}
    return kept | {path.name for path in folder.iterdir()}


def assert_same_run(folder, reference):
    """Equal to float order: every leaf of the last and the best state, every line of the journal, every metric."""
    for kind in ("latest", "best"):
        (experiment, state), (expected_experiment, expected) = restore(folder, kind), restore(reference, kind)
        assert experiment == expected_experiment
        chex.assert_trees_all_close(state, expected, rtol=1e-5, atol=1e-5)
    for line, expected in zip(lines(folder), lines(reference), strict=True):
        assert list(line) == list(expected)
        assert line.pop("split") == expected.pop("split")
        np.testing.assert_allclose(list(line.values()), list(expected.values()), rtol=1e-4, atol=1e-5)
    result, expected = Folder(folder).read_result(), Folder(reference).read_result()
    assert set(result.metrics) == {"validation", "test"} and result.parameters == expected.parameters
    chex.assert_trees_all_close(result.metrics, expected.metrics, rtol=1e-4, atol=1e-5)
    assert files(folder) == files(reference)


@pytest.mark.parametrize("mode", ["vmap", "map"])
def test_a_member_is_that_run_alone(mode, experiments, together, alone):
    found, folders = together(experiments, mode)
    assert sorted(found) == [0, 1, 2]
    for index, folder in enumerate(folders):
        assert_same_run(folder, alone[index])
        assert found[index].seed == experiments[index].seed


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("aeon"), reason="needs the extra vowels")
def test_recurrent_members(base, options, tmp_path):
    """Sequences of differing lengths, a scan, and another step size each."""
    model = RecurrentClassifier(hidden=3, classes=9, dropout=0.1)
    recurrent = replace(base, {"model": model, "data": Sequences("japanese_vowels", noise=0.1), "steps": 4})
    experiments = [replace(recurrent, {"seed": seed, "optimizer.learning_rate": 0.1 / (seed + 1)}) for seed in (0, 1)]
    opened = open_splits(recurrent, options)
    train(experiments[1], tmp_path / "alone", options, opened)
    folders = [tmp_path / str(index) for index in range(2)]
    train_together(experiments, folders, opened, options, "vmap", 2, lambda: False, lambda *_: None)
    assert_same_run(folders[1], tmp_path / "alone")


def test_order_and_padding_change_nothing(experiments, together, alone):
    """The third run comes first, and the last place of the chunk is filled with a copy whose results are dropped."""
    _, folders = together([experiments[2], experiments[0]])
    assert len(list(folders[0].parent.iterdir())) == 2
    assert_same_run(folders[0], alone[2])
    assert_same_run(folders[1], alone[0])


def test_data_in_host_memory(experiments, together, alone, options):
    _, folders = together(experiments, options=dataclasses.replace(options, residency="ram"))
    assert_same_run(folders[1], alone[1])


def test_one_trace_for_a_sweep_of_arguments(base, together, monkeypatch):
    """Learning rate, decay, dropout, warm-up and seed are arguments of the compiled step."""
    traces = []

    def counted(*arguments):
        traces.append(arguments[0])
        return train_step(*arguments)

    monkeypatch.setattr(group_training, "step_of", lambda count, reports: counted)
    changes = {
        "optimizer.learning_rate": 0.1,
        "optimizer.weight_decay": 0.2,
        "optimizer.warmup": 5,
        "model.dropout": 0.5,
        "seed": 9,
    }
    sweep = [replace(base, {path: value}) for path, value in changes.items()]
    together(sweep[:3], name="first")
    together(sweep[3:], name="second")
    assert len(traces) == 1


def test_a_nan_stays_where_it_is(experiments, together):
    """Neighbours of a run that diverges are what they are beside one that does not, bit for bit."""
    diverging = replace(experiments[1], {"optimizer.learning_rate": 1e30})
    _, good = together(experiments, name="good")
    found, bad = together([experiments[0], diverging, experiments[2]], name="bad")
    assert np.isnan(found[1].metrics["test"]["loss"])
    for index in (0, 2):
        chex.assert_trees_all_equal(restore(bad[index])[1], restore(good[index])[1])
        assert (bad[index] / "metrics.jsonl").read_bytes() == (good[index] / "metrics.jsonl").read_bytes()


def test_stopped_together_go_on_together(experiments, together, alone, options):
    with pytest.raises(Interrupted):
        together(experiments, options=dataclasses.replace(options, stop_after=4))
    found, folders = together(experiments)
    assert sorted(found) == [0, 1, 2]
    for index, folder in enumerate(folders):
        assert_same_run(folder, alone[index])


def test_stopped_apart_begin_again(experiments, together, alone, options):
    """One was stopped after 5 steps, the others after 2: they share no step to resume from."""
    for number, stop in ((slice(0, 3), 2), (slice(0, 1), 5)):
        with pytest.raises(Interrupted):
            together(experiments[number], options=dataclasses.replace(options, stop_after=stop))
    found, folders = together(experiments)
    for index, folder in enumerate(folders):
        assert_same_run(folder, alone[index])
        assert found[index].seconds["lost"] > 0


def test_a_member_that_cannot_write_leaves_the_others(experiments, together, alone, tmp_path):
    shutil.copytree(alone[2], tmp_path / "vmap" / "1")  # holds another run
    found, folders = together(experiments)
    assert "holds another experiment" in str(found[1])
    assert_same_run(folders[0], alone[0])
    assert_same_run(folders[2], alone[2])


def test_a_member_that_fails_on_the_way_leaves_the_others(experiments, together, alone, monkeypatch):
    """The second run's disk is full at the first evaluation."""
    write = Recorder.evaluated

    def full(self, *arguments):
        if self.experiment is experiments[1]:
            raise OSError(28, "No space left on device")
        return write(self, *arguments)

    monkeypatch.setattr(Recorder, "evaluated", full)
    found, folders = together(experiments)
    assert isinstance(found[1], OSError)
    assert_same_run(folders[0], alone[0])


def test_hyperparameters_stay_weakly_typed(experiments):
    """Else a learning rate of 0.1 would widen a bfloat16 computation to float32 in a group, and not alone."""
    stacked = stacked_hyperparameters(experiments)
    single = jax.device_put(split(experiments[0])[1])
    assert stacked.keys() == single.keys()
    for path, value in stacked.items():
        assert (value.dtype, value.weak_type, value.shape) == (single[path].dtype, single[path].weak_type, (3,))


def test_seconds_are_shared(experiments, together):
    """Each member has its part of the time, so that a study's seconds add up to what it took."""
    start = time.perf_counter()
    found, _ = together(experiments)
    assert 0 < sum(result.seconds["total"] for result in found.values()) < time.perf_counter() - start


@pytest.mark.fault("F3")
def test_seconds_that_came_to_nothing_are_shared(experiments, together, options, tmp_path):
    """The process that resumed at step 4 was killed after 400 s, before it saved."""
    with pytest.raises(Interrupted):
        together(experiments, options=dataclasses.replace(options, stop_after=4))
    for index in range(3):
        leave(tmp_path / "vmap" / str(index), owner(kernel=kernel(), since=time.time() - 500), silent=100)
    found, folders = together(experiments)
    for index, folder in enumerate(folders):
        seconds, events = found[index].seconds, Lineage(Folder(folder).lineage).events()
        assert [event["event"] for event in events] == ["began", "interrupted", "lost", "resumed", "finished"]
        carried = events[1]["seconds"]["total"]
        assert seconds["lost"] == pytest.approx(total_process_seconds(events[:3]) - carried, abs=0.002)
        assert seconds["lost"] == pytest.approx(400 / 3, abs=0.1)
        assert seconds["total"] == pytest.approx(carried + seconds["lost"] + events[4]["life"], abs=0.1)


def test_equal_examples_are_read_once(base, options):
    """Data that differs in augmentation shares them; another part of the dataset is another split."""
    shared = SharedSplits(options)
    splits = shared.of(base)
    assert shared.of(replace(base, {"data.noise": 0.3})) is splits
    fewer = shared.of(replace(base, {"data.train": "train[:100]", "data.validation": "train[100:200]"}))
    assert len(fewer["train"]) == 100 and len(splits["train"]) > 100


def test_a_step_is_compiled_once_however_it_is_asked_for(experiment):
    program, _ = split(experiment)
    assert compile_for(train_step, program) is compile_for(train_step, program, donate_state=False)
    spelled = compile_together(train_step, program, "vmap", (0, 0, 0), donate_state=True)
    assert compile_together(train_step, program, "vmap", (0, 0, 0), True) is spelled
