"""Training on batches that are cut to their length."""

import contextlib
import dataclasses

import chex
import jax
import numpy as np
import pytest

from research.ablation import Study, ablate, one_at_a_time
from research.ablation.execution.modes.choosing import choose
from research.cli.main import parse
from research.cli.runs import Describe
from research.data import Batches, Bucketed, Pairs, Sequences, Trained, TrainingOrder
from research.data.batching.training_order import Cut
from research.errors import UsageError
from research.experiment import Experiment, RunOptions, replace, split
from research.models import RecurrentClassifier, TransformerClassifier, TransformerSeq2Seq
from research.optimization import Optimizer
from research.tasks import Classification, SequenceToSequence
from research.tokens import END, SPECIAL
from research.training import Interrupted, restore, train
from research.training.clock import Clock
from research.training.faults.nonfinite import NonFiniteMonitor
from research.training.loop import open_splits
from research.training.update.state import init
from research.training.update.step import train_step

N, FULL = 60, 9
SGD = Optimizer("sgd", learning_rate=0.1)
SMALL = {"layers": 1, "width": 6, "heads": 2}


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """Sixty sequences of two channels in three classes, most of them short."""
    generator = np.random.default_rng(3)
    label = np.arange(N) % 3
    features = generator.normal(size=(N, FULL, 2)) + label[:, None, None]
    lengths = generator.integers(1, FULL + 1, (2, N)).min(axis=0)
    path = tmp_path_factory.mktemp("sequences") / "some.npz"
    np.savez(path, features=features.astype(np.float32), label=label, lengths=lengths)
    return str(path)


@pytest.fixture(scope="module")
def value(file):
    """Forty-two training examples in batches of five: nine steps reach into the second epoch."""
    data = Sequences(
        file, length=FULL, channels=2, labels=3, mean=(0.0,), std=(1.0,), noise=0.1, order=Bucketed((2, 5))
    )
    model = RecurrentClassifier(hidden=4, cell="rnn", classes=3, dropout=0.2)
    return Experiment(model, Classification(), data, Optimizer(learning_rate=0.01, ema=0.9), steps=11, batch_size=5)


OPTIONS = RunOptions(log_every=1, evaluate_every=4, checkpoint_every=3, progress="none", pictures=False)


def translated(model):
    """A step on pairs, and a raw batch of which no side is longer than 5."""
    data = Pairs(source_tokenizer=Trained("characters", 80), source_length=12, target_length=7)
    ids = np.random.default_rng(0).integers(SPECIAL, 16, (2, 6, 12))
    lengths, label_lengths = np.array([1, 5, 3, 2, 4, 5]), np.array([2, 5, 1, 4, 3, 5])
    labels = np.where(np.arange(7) == label_lengths[:, None] - 1, END, ids[1, :, :7])
    batch = {
        "tokens": np.where(np.arange(12) < lengths[:, None], ids[0], 0).astype(np.uint16),
        "lengths": lengths.astype(np.int32),
        "labels": np.where(np.arange(7) < label_lengths[:, None], labels, 0).astype(np.uint16),
        "label_lengths": label_lengths.astype(np.int32),
    }
    return Experiment(model, SequenceToSequence(), data, SGD, steps=3, batch_size=6), batch


def classified(model):
    """A step on sequences, and a raw batch of which none is longer than 5."""
    data = Sequences(length=12, channels=3, labels=4, mean=(0.1,), std=(2.0,))
    batch = {
        "features": np.random.default_rng(1).normal(size=(6, 12, 3)).astype(np.float32),
        "lengths": np.array([1, 5, 3, 2, 4, 5], np.int32),
        "label": np.arange(6, dtype=np.int32) % 4,
    }
    return Experiment(model, Classification(), data, SGD, steps=3, batch_size=6), batch


@pytest.mark.parametrize(
    "experiment, batch, entries",
    [
        (*classified(RecurrentClassifier(hidden=5, cell="lstm", classes=4, bidirectional=True)), ("features",)),
        (*classified(TransformerClassifier(**SMALL, vocabulary=None, classes=4)), ("features",)),
        (*translated(TransformerSeq2Seq(**SMALL, source_vocabulary=80, target_vocabulary=16)), ("tokens", "labels")),
    ],
    ids=["LSTM", "Transformer", "encoder-decoder"],
)
def test_a_step_on_a_batch_that_is_cut_is_the_step_on_all_of_it(experiment, batch, entries):
    program, hyperparameters = split(experiment)
    state = init(experiment, jax.random.key(0))
    step = jax.jit(train_step, static_argnums=0)
    short = Cut(tuple((name, 5) for name in entries))(batch)
    assert short[entries[-1]].shape[1] == 5 < batch[entries[-1]].shape[1]
    (cut, less), (whole, more) = (step(program, hyperparameters, state, each) for each in (short, batch))
    chex.assert_trees_all_close((cut.params, less), (whole.params, more), rtol=2e-5, atol=1e-6)
    assert float(less["update_norm"]) > 1e-3


def test_an_interrupted_run_is_the_uninterrupted_one_wherever_its_split_is(value, tmp_path):
    train(value, tmp_path / "whole", dataclasses.replace(OPTIONS, residency="ram"))
    for stop, residency in ((4, "device"), (8, "stream"), (None, "ram")):
        options = dataclasses.replace(OPTIONS, residency=residency, stop_after=stop)
        with pytest.raises(Interrupted) if stop else contextlib.nullcontext():
            train(value, tmp_path / "parts", options)
    (_, state), (_, expected) = restore(tmp_path / "parts"), restore(tmp_path / "whole")
    chex.assert_trees_all_equal(state, expected)
    assert (tmp_path / "parts" / "metrics.jsonl").read_bytes() == (tmp_path / "whole" / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize("residency", ["device", "ram"])
def test_a_program_is_compiled_for_each_length_and_counted_as_that(value, residency, tmp_path, monkeypatch):
    traced, phases = [], []

    def counted(*arguments):
        traced.append(residency)
        return train_step(*arguments)

    @contextlib.contextmanager
    def phase(clock, name):
        phases.append(name)
        with entered(clock, name):
            yield

    entered = Clock.phase
    monkeypatch.setattr("research.training.stepping.step_of", lambda count, reports: counted)
    monkeypatch.setattr(Clock, "phase", phase)
    train(value, tmp_path, dataclasses.replace(OPTIONS, residency=residency, evaluate_every=0))
    order = TrainingOrder(value.data, value.data.open("train"), value.batch_size, value.seed)
    lengths = [dict(order.cut_of(order.indices_at(step)).steps)["features"] for step in range(value.steps)]
    assert set(lengths) == {2, 5, FULL}
    assert len(traced) == 3 and phases.count("compile") == 1 + 3  # the first state is compiled too


def test_the_rows_that_a_fault_names_are_those_of_the_batch(value):
    records = value.data.open("train")
    order = TrainingOrder(value.data, records, value.batch_size, value.seed)
    batches = Batches(records, value.batch_size, value.seed, "ram", data=value.data)
    for step in range(20):
        rows = NonFiniteMonitor(value, order, print).rows(step + 1)
        np.testing.assert_array_equal(records[np.array(rows)]["label"], batches.batch_at(step)["label"])


def test_many_steps_in_a_call_are_refused(value, tmp_path):
    with pytest.raises(UsageError, match=r"batches of a Bucketed order differ: set steps_per_call to 1"):
        train(value, tmp_path / "run", dataclasses.replace(OPTIONS, steps_per_call=5))
    assert not list(tmp_path.iterdir())


def test_trials_of_a_study_take_turns(value, file, tmp_path):
    uniform = replace(value, {"data": Sequences(file, length=FULL, channels=2, labels=3, mean=(0.0,), std=(1.0,))})
    study = Study(one_at_a_time({"data.order": (Bucketed((3,)),)}), seeds=2)
    for mode in ("vmap", "map", "shard"):
        with pytest.raises(UsageError, match=rf'order Bucketed: .*as "{mode}" does.*: choose auto or loop'):
            ablate(uniform, study, tmp_path, OPTIONS, mode)
    assert not list(tmp_path.glob("trials/*/*"))
    several = [replace(value, {"seed": seed, "steps": 10_000}) for seed in range(8)]
    choice = choose(several, open_splits(value, OPTIONS), OPTIONS, "auto", True)
    assert choice.mode == "loop" and choice.steps_per_call == 1 and "differ in length" in choice.reason


def test_boundaries_are_flags(value):
    def parsed(*flags):
        return parse(Describe(value), "name", "doc", list(flags)).experiment

    assert parsed() == value
    assert parsed("--data.order.boundaries", "3", "4", "7").data.order == Bucketed((3, 4, 7))
