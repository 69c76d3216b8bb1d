"""Several steps in one call."""

import dataclasses
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.experiment import RunOptions, spec, split
from research.training import Interrupted, restore, train
from research.training.stepping import steps_per_call
from research.training.update.shapes import abstract_state
from research.training.update.step import train_steps

pytestmark = pytest.mark.optimized

CALLS = {"steps_per_call": 3, "log_every": 3, "evaluate_every": 6, "checkpoint_every": 3}


@pytest.mark.parametrize("residency", ["device", "ram"])
def test_steps_in_one_call_are_those_steps(residency, tiny, options, tmp_path):
    """Eleven steps: three calls of three steps, and two of one."""
    several = dataclasses.replace(options, residency=residency, **CALLS)
    single = dataclasses.replace(several, steps_per_call=1)
    eleven = dataclasses.replace(tiny, steps=11)
    for name, chosen in (("several", several), ("single", single)):
        train(eleven, tmp_path / name, chosen)
    (_, state), (_, expected) = restore(tmp_path / "several"), restore(tmp_path / "single")
    chex.assert_trees_all_close(state, expected, rtol=1e-4, atol=1e-6)
    lines = [
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("several", "single")
    ]
    for one, other in zip(*lines, strict=True):
        assert (one["step"], one["split"]) == (other["step"], other["split"])
        np.testing.assert_allclose(one["loss"], other["loss"], rtol=1e-4)
    assert [line["step"] for line in lines[0] if line["split"] == "train"] == [3, 6, 9, 11]


def test_only_the_last_step_of_a_call_computes_metrics(tiny):
    """The loop over the others carries the state, the number of the step, what came of each, and nothing else."""
    program, hyperparameters = split(tiny)
    batches = {name: jnp.zeros((3, *item.shape), item.dtype) for name, item in spec(tiny).items()}
    state = abstract_state(tiny)
    jaxpr = jax.make_jaxpr(train_steps, static_argnums=0)(program, hyperparameters, state, batches)
    (loop,) = [equation for equation in jaxpr.eqns if equation.primitive.name == "scan"]
    assert len(loop.outvars) == len(jax.tree.leaves(state)) + 2


def test_an_interrupted_run_takes_the_same_calls(tiny, options, tmp_path):
    several = dataclasses.replace(options, **CALLS)
    train(tiny, tmp_path / "whole", several)
    with pytest.raises(Interrupted, match="step 6 of 12"):  # asked to stop after 5, in the middle of a call
        train(tiny, tmp_path / "parts", dataclasses.replace(several, stop_after=5))
    train(tiny, tmp_path / "parts", several)
    (_, state), (_, expected) = restore(tmp_path / "parts"), restore(tmp_path / "whole")
    chex.assert_trees_all_equal(state, expected)


def test_nothing_is_due_within_a_call():
    options = RunOptions(steps_per_call=50, log_every=20, evaluate_every=0, checkpoint_every=30)
    assert steps_per_call(0, 1000, options) == 10
    assert steps_per_call(990, 1000, options) == 10 and steps_per_call(995, 1000, options) == 1
    assert steps_per_call(0, 1000, dataclasses.replace(options, evaluate_every=15)) == 5
    assert steps_per_call(0, 1000, RunOptions()) == 1


def test_without_a_best_state_there_is_the_latest(tiny, options, tmp_path):
    train(tiny, tmp_path, dataclasses.replace(options, keep_best=False))
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["latest"]
