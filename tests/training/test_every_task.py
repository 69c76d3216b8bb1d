"""What holds of every task: it trains, evaluates and predicts in compiled steps, and batches change no number."""

import dataclasses
from typing import Literal

import jax
import numpy as np
import pytest

from research import tasks
from research.data import Data, Records
from research.data.schema import Categorical, Labels, Real, Schema, Tokens
from research.devices import compile_for
from research.experiment import Experiment, join, replace, spec, split
from research.models import MLP, BertPretraining, Seq2Seq, TransformerLanguageModel
from research.optimization import Optimizer
from research.tasks import Task
from research.training import eval_step, evaluate, init, predict, predict_step, train_step
from research.training.initialization.checking import check
from research.training.update.references import collections
from research.training.update.shapes import shapes

N, L, V, K = 23, 5, 11, 3
RNG = np.random.default_rng(0)
TOKENS = RNG.integers(5, V, (N, L + 1)).astype(np.int32)
LENGTHS = RNG.integers(1, L, N).astype(np.int32)
HERE = np.arange(L)[None] < LENGTHS[:, None]
FEATURES, VALUES, OTHERS = (RNG.normal(size=(N, k)).astype(np.float32) for k in (7, K, K))
THERE = RNG.random((N, K)) < 0.8
LABELS = np.where(HERE, np.pad(np.where(HERE[:, 1:], TOKENS[:, : L - 1], 2), ((0, 0), (0, 1))), 0).astype(np.int32)
TABLE = {"features": FEATURES}
RAW = {
    "Classification": {**TABLE, "label": RNG.integers(0, K, N).astype(np.int32)},
    "Regression": {**TABLE, "target": np.where(THERE, VALUES, 0), "present": THERE},
    "MultiLabel": {**TABLE, "labels": RNG.integers(-1, 2, (N, K)).astype(np.int32)},
    "Forecasting": {
        "features": FEATURES[:, :, None],
        "value": VALUES,
        "present": THERE,
        "level": OTHERS,
        "scale": np.abs(VALUES[:, 0]) + 1,
        "persistence": OTHERS,
        "seasonal": OTHERS + 1,
        "time": np.arange(N * K, dtype=np.float32).reshape(N, K),
    },
    "LanguageModeling": {"tokens": TOKENS[:, :-1], "targets": TOKENS[:, 1:], "lengths": LENGTHS, "bytes": 2 * LENGTHS},
    "MaskedLanguageModeling": {
        "tokens": TOKENS[:, :-1],
        "targets": TOKENS[:, 1:],
        "predicted": HERE,
        "lengths": LENGTHS,
        "segments": (np.arange(L)[None] > 2).astype(np.int32) * np.ones((N, 1), np.int32),
        "next": (LENGTHS > 2).astype(np.int32),
    },
    "SequenceToSequence": {
        "tokens": TOKENS[:, :-1],
        "lengths": LENGTHS,
        "targets": np.pad(LABELS[:, :-1], ((0, 0), (1, 0)), constant_values=1),
        "labels": LABELS,
        "label_lengths": LENGTHS,
    },
}
RAW["Distillation"] = RAW["Classification"]
MEANINGS = {
    "Classification": {"features": Real(7), "label": Categorical(K)},
    "Distillation": {"features": Real(7), "label": Categorical(K)},
    "Regression": {"features": Real(7), "target": Real(K)},
    "MultiLabel": {"features": Real(7), "labels": Labels(K)},
    "Forecasting": {"features": Real(1), "value": Real(K)},
}
MODELS = {
    "LanguageModeling": TransformerLanguageModel(
        layers=1, width=6, heads=3, vocabulary=V, positions="learned", max_length=L
    ),
    "MaskedLanguageModeling": BertPretraining(layers=1, width=6, heads=3, vocabulary=V, max_length=L),
    "SequenceToSequence": Seq2Seq(
        hidden=5, embedding=3, source_vocabulary=V, target_vocabulary=V, scheduled_sampling=0.3
    ),
}
TASKS = [
    item for item in vars(tasks).values() if isinstance(item, type) and issubclass(item, Task) and item is not Task
]


@dataclasses.dataclass(frozen=True)
class Arrays(Data):
    """The examples above; every split is all of them."""

    name: str

    def spec(self):
        return {name: jax.ShapeDtypeStruct(array.shape[1:], array.dtype) for name, array in RAW[self.name].items()}

    def schema(self):
        return Schema(MEANINGS.get(self.name, {"tokens": Tokens(V), "targets": Tokens(V), "labels": Tokens(V)}))

    def open(self, split: Literal["train", "validation", "test"], data_dir=None):
        return Records(self, self.spec())

    def preprocess(self, batch, key=None):
        return batch

    def readable(self, columns, data_dir=None):
        texts = [name for name in ("source", "target", "prompt") if columns.get(name, np.zeros(0)).dtype.kind == "i"]
        return {**columns, **{name: np.array([" ".join(map(str, row)) for row in columns[name]]) for name in texts}}

    def __len__(self):
        return N

    def __getitems__(self, keys):
        return [{name: array[key] for name, array in RAW[self.name].items()} for key in keys]


def experiment(task):
    model = MODELS.get(task.__name__, MLP(hidden=(5,), classes=K, dropout=0.1))
    value = Experiment(model, task(), Arrays(task.__name__), Optimizer(learning_rate=0.01), steps=3, batch_size=7)
    source = replace(value, {"task": tasks.Classification()}) if task.references else value
    return replace(value, {"references": tuple((name, source) for name in task.references)})


def references(value):
    """What the frozen networks of an experiment begin as."""
    return {name: collections(init(source, jax.random.key(9))) for name, source in value.references}


@pytest.mark.parametrize("task", TASKS)
def test_a_batch_in_parts_has_the_gradient_of_the_whole(task):
    """Each part has other lengths and other entries that count, yet every one of them weighs alike."""
    off = {"model.dropout": 0.0} | ({"model.scheduled_sampling": 0.0} if "Sequence" in task.__name__ else {})
    whole = replace(experiment(task), {**off, "optimizer.algorithm": "sgd", "optimizer.l2": 0.1, "batch_size": 21})
    batch = {name: array[:21] for name, array in RAW[task.__name__].items()}
    found = []
    for parts in (1, 3):
        value = replace(whole, {"accumulation": parts})
        program, hyperparameters = split(value)
        state, metrics = jax.jit(train_step, static_argnums=0)(
            program, hyperparameters, init(value, jax.random.key(0)), batch, references(value)
        )
        sums = jax.device_get(metrics.pop("sums"))
        found.append((metrics, state.opt_state, state.variables, value.task.summarize(sums)))
    one, three = found
    for wanted, given in zip(jax.tree.leaves(one), jax.tree.leaves(three), strict=True):
        np.testing.assert_allclose(given, wanted, rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_it_trains_and_batches_change_no_number(task, monkeypatch):
    value = experiment(task)
    check(value)
    program, hyperparameters = split(value)
    assert join(program, hyperparameters) == value
    state, raw = init(value, jax.random.key(0)), RAW[task.__name__]
    step, given = compile_for(train_step, program), references(value)
    for _ in range(3):
        state, metrics = step(hyperparameters, state, {name: array[:7] for name, array in raw.items()}, given)
    assert np.isfinite(metrics["objective"]) and metrics["gradient_norm"] > 0
    reported = value.task.summarize(jax.device_get(metrics["sums"]))
    assert set(task.headline) <= reported.keys()
    found = {}
    for size in (N, 10):
        monkeypatch.setattr("research.training.evaluation.BATCH_SIZE", size)
        found[size] = tuple(ask(value, state, references=given) for ask in (evaluate, predict))
    assert task.monitor in found[N][0] and reported.keys() <= found[N][0].keys()
    assert found[10][0] == pytest.approx(found[N][0], rel=1e-4)
    assert found[10][1].keys() == found[N][1].keys()
    for name, column in found[N][1].items():
        assert len(column) == N
        if column.dtype.kind == "f":
            np.testing.assert_allclose(found[10][1][name], column, rtol=1e-4, atol=1e-6)
        else:
            np.testing.assert_array_equal(found[10][1][name], column)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("function", [train_step, eval_step, predict_step])
def test_it_lowers_for_every_platform(function, task):
    value = experiment(task)
    program, hyperparameters = split(value)
    given = hyperparameters, shapes(value).state, spec(value), shapes(value).references
    traced = compile_for(function, program).trace(*given)
    assert "stablehlo" in traced.lower(lowering_platforms=("cpu", "cuda", "tpu")).as_text()
