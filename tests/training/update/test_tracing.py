"""Shapes are found once for each program, and are those of what is computed."""

import chex
import jax
import jax.numpy as jnp
import pytest

from research.errors import UsageError
from research.experiment import replace, spec
from research.training import init
from research.training.initialization.checking import check, evaluated
from research.training.update.state import abstract_state
from research.training.update.tracing import PROGRAMS, traced_once


def test_a_program_is_traced_once(experiment):
    seen = []

    @traced_once
    def scaled(given, batch):
        seen.append(given)
        return batch["image"] * given.optimizer.learning_rate

    found = scaled(experiment, spec(experiment))
    assert (found.shape, found.dtype) == ((17, 8, 8, 1), jnp.float32)
    same = replace(experiment, {"optimizer.learning_rate": 0.5, "seed": 3, "model.dropout": 0.1})
    assert scaled(same, spec(same)) is found and len(seen) == 1
    for number, changes in enumerate(({"model.dropout": 0.0}, {"batch_size": 16}, {"model.dtype": "bfloat16"})):
        other = replace(experiment, changes)
        assert scaled(other, spec(other)).shape[0] == other.batch_size and len(seen) == 2 + number


def test_only_the_last_programs_are_remembered(experiment):
    seen = []

    @traced_once
    def examples(given):
        seen.append(given.batch_size)
        return jnp.zeros(given.batch_size)

    for count in (*range(1, PROGRAMS + 2), 2, 1):
        assert examples(replace(experiment, {"batch_size": count})).shape == (count,)
    assert seen == [*range(1, PROGRAMS + 2), 1]


def test_shapes_are_those_of_what_is_computed(experiment):
    state = init(experiment, jax.random.key(experiment.seed))
    chex.assert_trees_all_equal_shapes_and_dtypes(abstract_state(experiment), state)
    given, outputs = evaluated(experiment, abstract_state(experiment), spec(experiment), {})
    assert given == {} and outputs.shape == (17, 10)


def test_what_does_not_fit_is_said_every_time(experiment):
    wrong = replace(experiment, {"model.classes": 7})
    for _ in range(2):
        with pytest.raises(UsageError, match="7"):
            check(wrong)
