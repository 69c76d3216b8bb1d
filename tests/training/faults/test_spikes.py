"""Updates whose loss leaps are left out; what is a leap is computed here once more, by hand."""

import dataclasses

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.devices import compile_for
from research.experiment import RunOptions, replace, split
from research.training import Interrupted, init, train, train_step
from research.training.update.skipping import IN_A_ROW, SPIKE, TAKEN, WARM_UP, WINDOW, apply_skip_policy
from tests.training.faults.poisoned import experiment, lines_of, state_of, updates_with

ROW, STEPS = 17, 80


@pytest.fixture(scope="module")
def options():
    return RunOptions(log_every=1, evaluate_every=40, checkpoint_every=40, pictures=False, progress="none")


def judged(losses, spike):
    """Return which of a sequence of losses are left out, by plain Python."""
    window, row, found = [], 0, []
    for loss in losses:
        last = np.array(window[-WINDOW:], np.float64)
        leap = len(window) >= WARM_UP and row < IN_A_ROW and loss > last.mean() + spike * last.std(ddof=1)
        left_out = bool(leap) or not np.isfinite(loss)
        row = row + 1 if left_out else 0
        window += [] if left_out else [loss]
        found.append(left_out)
    return found


@pytest.mark.fault("F23")
def test_leaps_are_those_of_plain_python():
    """Over more losses than the window holds, with leaps, another level, and losses that are not finite."""
    generator = np.random.default_rng(0)
    losses = generator.normal(2, 0.1, 400).astype(np.float32)
    losses[[9, 63, 66, 100, 201, 300]] += 5  # too early to tell, twice; then leaps, one right after what is not finite
    losses[[30, 101, 200]] = np.nan, np.inf, np.nan
    losses[330:] += 3  # a level, after ten
    value = experiment(spike=3.0, nonfinite="skip")
    state = init(value, jax.random.key(0))

    def step(state, loss):
        after, fault = apply_skip_policy(value, state, state._replace(step=state.step + 1), loss, jnp.float32(1))
        return after, fault

    state, faults = jax.jit(lambda state: jax.lax.scan(step, state, jnp.asarray(losses)))(state)
    assert (np.asarray(faults) != TAKEN).tolist() == judged(losses, 3.0)
    spikes = {index for index, fault in enumerate(faults.tolist()) if fault == SPIKE}
    assert {66, 100, 201, 300} <= spikes and min(spikes) == 66
    assert (faults[330:340] == SPIKE).all() and faults[340] == TAKEN
    assert state.skipped[0] == sum(judged(losses, 3.0)) and jnp.isfinite(state.losses).all()


@pytest.mark.fault("F23")
def test_a_leap_changes_nothing_and_no_neighbour():
    """Of two runs in lockstep that differ in what is a leap, one leaves the update out."""
    value = experiment(spike=3.0, steps=1000)
    program, hyperparameters = split(value)
    known = jnp.asarray(np.random.default_rng(1).normal(0.3, 0.01, WINDOW).astype(np.float32))
    state = init(value, jax.random.key(0))._replace(step=jnp.int32(200), losses=known)
    batch = {name: column[:5] for name, column in experiment(far=tuple(range(5))).data.open("train").arrays().items()}
    arguments = [{**hyperparameters, "safety.spike": jnp.float32(spike)} for spike in (3.0, 1e9)]
    both = jax.tree.map(lambda *leaves: jnp.stack(leaves), *arguments)
    twice = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), state)
    after, metrics = jax.vmap(lambda values, state: train_step(program, values, state, batch))(both, twice)
    assert metrics["fault"].tolist() == [SPIKE, TAKEN] and metrics["objective"][0] == metrics["objective"][1]
    first, second = (jax.tree.map(lambda leaf, i=index: leaf[i], after) for index in range(2))
    unchanged = state._replace(step=jnp.int32(201), skipped=jnp.array([1, 1], jnp.int32))
    chex.assert_trees_all_equal(first, unchanged)
    assert second.losses[200 % WINDOW] == metrics["objective"][1] and second.skipped.tolist() == [0, 0]
    assert not np.array_equal(second.params["last"]["kernel"], state.params["last"]["kernel"])


@pytest.mark.fault("F23")
def test_what_is_off_costs_nothing():
    program, hyperparameters = split(experiment())
    assert "safety.spike" not in hyperparameters and init(experiment(), jax.random.key(0)).losses is None
    one, other = (split(experiment(spike=spike)) for spike in (3.0, 6.0))
    assert one[0] == other[0] != program and one[1]["safety.spike"] == 3.0
    assert compile_for(train_step, one[0]) is compile_for(train_step, other[0])


@pytest.mark.fault("F23")
def test_interrupted_equals_uninterrupted(options, tmp_path):
    """A leap is judged by losses from before the interruption."""
    value = replace(experiment(far=(ROW,), steps=STEPS), {"safety.spike": 1.5})
    train(value, tmp_path / "whole", options)
    expected = state_of(tmp_path / "whole")
    late = [update for update in updates_with(ROW, STEPS) if update > WARM_UP]
    assert expected.skipped[0] >= 1 and late
    for k in (30, 65, late[0] - 1, late[0]):
        try:
            train(value, tmp_path / "parts", dataclasses.replace(options, stop_after=k))
        except Interrupted:
            continue
    train(value, tmp_path / "parts", options)
    chex.assert_trees_all_equal(state_of(tmp_path / "parts"), expected)
    whole, parts = ((tmp_path / name / "metrics.jsonl").read_bytes() for name in ("whole", "parts"))
    assert whole == parts
    losses = [line["objective"] for line in lines_of(tmp_path / "whole")]
    found = [line["skipped"] for line in lines_of(tmp_path / "whole")]
    assert found == np.cumsum(judged(losses, 1.5)).tolist()
