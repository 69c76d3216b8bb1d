"""Several steps in one call."""

import dataclasses
import json

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.devices import ONE_DEVICE
from research.experiment import Placement, RunOptions, replace, spec, split
from research.training import Interrupted, restore, run, stepping, train
from research.training.stepping import MANY, compiled_train_step, may_be_silent, steps_per_call
from research.training.update.shapes import abstract_state
from research.training.update.step import train_steps

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


@pytest.fixture
def small(tiny):
    """A run whose programs are soon compiled with all optimizations."""
    return replace(tiny, {"model.channels": (3,), "model.dense": (), "data.shift": 0})


@pytest.mark.optimized
@pytest.mark.parametrize("several", [1, 2])
def test_steps_between_reports_are_the_same_steps(several, small, options, tmp_path, monkeypatch):
    """A second program, which computes no metrics, leads to the same state and journal to the last bit."""
    due = {"log_every": 4, "evaluate_every": 6, "checkpoint_every": 6}
    chosen = dataclasses.replace(options, **due, steps_per_call=several, residency="ram")
    taken, compiled = [], run.compiled_train_step

    def noted(program, layout, count, reports):
        taken.append((count, reports))
        return compiled(program, layout, count, reports)

    monkeypatch.setattr(run, "compiled_train_step", noted)
    for name, many, kinds in (("reported", 13, {True}), ("silent", 12, {True, False})):
        monkeypatch.setattr(stepping, "MANY", many)
        train(small, tmp_path / name, chosen)
        assert sorted(taken) == sorted((several, reports) for reports in kinds)  # each compiled once
        taken.clear()
    for kind in ("latest", "best"):
        chex.assert_trees_all_equal(*(restore(tmp_path / name, kind)[1] for name in ("reported", "silent")))
    journals = [(tmp_path / name / "metrics.jsonl").read_bytes() for name in ("reported", "silent")]
    assert journals[0] == journals[1] and journals[0].count(b'"train"') == 3


@pytest.mark.optimized
def test_a_silent_step_computes_less(small):
    program, hyperparameters = split(small)
    given = hyperparameters, abstract_state(small), spec(small), {}
    reported, silent = (compiled_train_step(program, ONE_DEVICE, 1, reports).lower(*given) for reports in (True, False))
    assert set(silent.out_info[1]) == {"fault"} and set(reported.out_info[1]) > {"fault", "gradient_norm", "sums"}
    flops = [each.compile().cost_analysis()["flops"] for each in (reported, silent)]
    assert flops[1] < flops[0]


def test_few_steps_are_not_worth_a_second_program():
    options = RunOptions()
    assert may_be_silent(MANY, options) and not may_be_silent(MANY - 1, options)
    for other in ({"log_every": 1}, {"profile": "2:4"}, {"placement": Placement(method="pmap")}):
        assert not may_be_silent(MANY, dataclasses.replace(options, **other))


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
