"""Shapes are found once for each program, and are those of what is computed."""

import chex
import jax
import pytest

from research.data import Batches
from research.errors import UsageError
from research.experiment import replace, split
from research.training import init
from research.training.initialization.checking import check
from research.training.update.shapes import abstract_state, shapes, shapes_of
from research.training.update.step import predict_step, training_batch


@pytest.fixture
def traced(monkeypatch):
    """The batch sizes of the experiments whose model is traced, in order."""
    seen = []

    def init_of(experiment, key):
        seen.append(experiment.batch_size)
        return init(experiment, key)

    monkeypatch.setattr("research.training.update.shapes.init", init_of)
    return seen


def test_a_program_is_traced_once(experiment, traced):
    shapes_of.cache_clear()  # what other tests of this process asked for
    found = shapes(experiment)
    same = replace(experiment, {"optimizer.learning_rate": 0.5, "seed": 3, "model.dropout": 0.1})
    before = len(traced)
    assert shapes(same) is found and check(same) is found and len(traced) == before
    for number, changes in enumerate(({"model.dropout": 0.0}, {"batch_size": 16}, {"model.dtype": "bfloat16"}), 1):
        other = replace(experiment, changes)
        assert shapes(other).batch["image"].shape[0] == other.batch_size and len(traced) == before + number


def test_shapes_are_those_of_what_is_computed(experiment):
    found = shapes(experiment)
    state = init(experiment, jax.random.key(experiment.seed))
    assert len(jax.tree.leaves(state)) > 3
    chex.assert_trees_all_equal_shapes_and_dtypes(found.state, abstract_state(experiment), state)
    raw = Batches(experiment.data.open("train"), experiment.batch_size, experiment.seed).batch_at(0)
    chex.assert_trees_all_equal_shapes_and_dtypes(found.batch, raw)
    program, hyperparameters = split(experiment)
    chex.assert_trees_all_equal_shapes_and_dtypes(found.augmented, training_batch(program, hyperparameters, 0, raw))
    predicted = predict_step(program, hyperparameters, state, raw)
    assert found.outputs.shape[0] == predicted["prediction"].shape[0] and found.given == found.references == {}


def test_what_does_not_fit_is_said_every_time(experiment):
    wrong = replace(experiment, {"model.classes": 7})
    for _ in range(2):
        with pytest.raises(UsageError, match="7"):
            check(wrong)
