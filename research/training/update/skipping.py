"""Updates that are left out inside the compiled step: what is not finite, and what leaps.

Everything here is a pure function of scalars and the state, so it holds for several runs at once as for one.
"""

from typing import Any

import jax
import jax.numpy as jnp

from research.experiment import Experiment
from research.fields import is_static_zero

# What came of an update: `fault` in the metrics of a step.
TAKEN, SPIKE, NONFINITE = range(3)

IN_A_ROW = 10
"""Updates that may be left out one after the other: more are no accident, but a run that learns nothing."""
WINDOW = 128
"""Losses of which mean and standard deviation are taken."""
WARM_UP = WINDOW // 2
"""Losses that must be known before one of them can be a spike."""


def may_skip(experiment: Experiment) -> bool:
    """Return whether updates of an experiment, or program, may be left out."""
    return experiment.safety.nonfinite != "stop" or not is_static_zero(experiment.safety.spike)


def loss_fault(loss: jax.Array) -> jax.Array:
    """Return `NONFINITE` where a loss is not finite, else `TAKEN`; int32."""
    return jnp.where(jnp.isfinite(loss), TAKEN, NONFINITE).astype(jnp.int32)


def apply_skip_policy(
    experiment: Experiment, before: Any, after: Any, loss: jax.Array, gradient_norm: jax.Array
) -> tuple[Any, jax.Array]:
    """Return the state that an update leads to, and what came of it: `TAKEN`, `SPIKE` or `NONFINITE`.

    Of an update that is left out the step is counted, and all that was learned is that of the state `before`, bit for
    bit, batch statistics and moving averages too.
    """
    fault = jnp.maximum(loss_fault(loss), loss_fault(gradient_norm))
    if not may_skip(experiment):
        return after, fault
    if not is_static_zero(experiment.safety.spike):
        fault = jnp.where((fault == TAKEN) & _leaps(experiment, before, loss), SPIKE, fault)
    left_out = fault == SPIKE if experiment.safety.nonfinite == "stop" else fault != TAKEN
    state = jax.tree.map(lambda old, new: jnp.where(left_out, old, new), before, after)
    total, row = before.skipped
    skipped = jnp.stack([total + left_out, jnp.where(left_out, row + 1, 0)])
    losses = before.losses
    if losses is not None:
        at = (before.step - total) % WINDOW
        losses = losses.at[at].set(jnp.where(fault == TAKEN, loss, losses[at]))
    return state._replace(step=after.step, skipped=skipped, losses=losses), fault


def _leaps(experiment: Experiment, state: Any, loss: jax.Array) -> jax.Array:
    """Return whether a loss lies far above the last ones, as SkipStepOptimizer of OLMo-core and Levanter judge it.

    They let every loss into the window, so that one that is not finite leaves out all that follow; here only those of
    updates that were taken enter. So after `IN_A_ROW` updates the next is taken: the loss has come to another level.
    """
    total, row = state.skipped
    taken = state.step - total
    known = jnp.arange(WINDOW) < taken
    count = jnp.clip(taken, 2, WINDOW)
    mean = jnp.where(known, state.losses, 0).sum() / count
    variance = jnp.where(known, jnp.square(state.losses - mean), 0).sum() / (count - 1)
    return (taken >= WARM_UP) & (row < IN_A_ROW) & (loss > mean + experiment.safety.spike * jnp.sqrt(variance))
