import math
from typing import get_args

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from research.optimization import Schedule, unit

SCHEDULES = get_args(Schedule)


def peer(schedule, warmup, total):
    """The same shape from optax, or by hand where optax has none."""
    rise = optax.linear_schedule(0.0, 1.0, warmup)
    fall = optax.linear_schedule(1.0, 0.0, total - warmup)
    return {
        "constant": optax.join_schedules([rise, optax.constant_schedule(1.0)], [warmup]),
        "linear": optax.join_schedules([rise, fall], [warmup]),
        "cosine": optax.warmup_cosine_decay_schedule(0.0, 1.0, warmup, total),
        "inverse_square_root": lambda step: (
            step / warmup if step < warmup else math.sqrt(max(warmup, 1) / max(step, warmup, 1))
        ),
    }[schedule]


@pytest.mark.parametrize("warmup, total", [(0, 13), (1, 13), (5, 13), (12, 13), (3, 101)])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedule_equals_that_of_optax_at_every_step(schedule, warmup, total):
    steps = np.arange(total + 7)
    expected = [float(peer(schedule, warmup, total)(step)) for step in steps]
    np.testing.assert_allclose(unit(schedule, steps, warmup, total), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "schedule, values",
    [
        ("constant", [0, 0.5, 1, 1, 1, 1, 1, 1]),
        ("linear", [0, 0.5, 1, 0.75, 0.5, 0.25, 0, 0]),
        ("cosine", [0, 0.5, 1, (2 + math.sqrt(2)) / 4, 0.5, (2 - math.sqrt(2)) / 4, 0, 0]),
        ("inverse_square_root", [0, 0.5, 1, *(math.sqrt(2 / step) for step in (3, 4, 5, 6, 7))]),
    ],
)
def test_schedule_by_hand(schedule, values):
    np.testing.assert_allclose([unit(schedule, step, 2, 6) for step in range(8)], values, atol=1e-6)


def test_a_floor_squeezes_what_follows_warm_up():
    np.testing.assert_allclose(
        [unit("linear", step, 2, 6, 0.2) for step in range(8)], [0, 0.5, 1, 0.8, 0.6, 0.4, 0.2, 0.2]
    )
    cosine = optax.warmup_cosine_decay_schedule(0.0, 1.0, 3, 17, end_value=0.1)
    np.testing.assert_allclose(
        unit("cosine", np.arange(20), 3, 17, 0.1), [cosine(step) for step in range(20)], rtol=1e-6
    )


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_argument_may_be_traced(schedule):
    traced = jax.jit(chex.assert_max_traces(unit, n=1), static_argnums=0)
    cases = [(step, warmup, total) for step in (0, 3, 9) for warmup in (0, 2, 5) for total in (7, 10)]
    single = [traced(schedule, *case) for case in cases]
    np.testing.assert_allclose(single, [unit(schedule, *case) for case in cases], rtol=1e-6, atol=1e-6)
    arguments = jnp.asarray(cases, jnp.int32).T
    together = jax.vmap(lambda step, warmup, total: unit(schedule, step, warmup, total))(*arguments)
    np.testing.assert_allclose(together, single, rtol=1e-6, atol=1e-6)
    assert jax.jit(lambda floor: unit(schedule, 9, 2, 10, floor))(1.0) == 1


@given(st.sampled_from(SCHEDULES), st.integers(0, 40), st.integers(0, 40))
def test_the_factor_rises_to_one_then_never_rises(schedule, warmup, total):
    values = np.asarray(unit(schedule, np.arange(90), warmup, total))
    assert np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1
    assert (np.diff(values[: warmup + 1]) > 0).all() and (np.diff(values[warmup:]) <= 1e-7).all()
    if warmup:
        assert values[0] == 0
    if warmup < total or schedule in ("constant", "inverse_square_root"):
        assert values[warmup] == 1
    if schedule in ("cosine", "linear"):
        np.testing.assert_allclose(values[max(total, warmup + 1) :], 0, atol=1e-7)
