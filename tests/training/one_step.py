"""One step from a state that nobody trained: what is asked of a family whose whole runs another one stands for.

A run is its steps, each a function of the state and a batch. So where a family has no part of its own in how a run is
stopped, saved and resumed, the promises about runs come down to a promise about its step, which compiles one program.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from research.experiment import split
from research.training.faults.nonfinite import first_not_finite
from research.training.update.shapes import abstract_state
from research.training.update.skipping import NONFINITE
from research.training.update.state import TrainState
from research.training.update.step import train_step


def drawn(experiment) -> TrainState:
    """Return a state before the first step, of numbers that take no program: those of variances are positive."""
    generator = np.random.default_rng(0)
    state = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), abstract_state(experiment))
    params = jax.tree.map(lambda leaf: generator.normal(0, 0.3, leaf.shape).astype(leaf.dtype), state.params)
    variables = jax.tree.map(lambda leaf: generator.uniform(0.5, 1, leaf.shape).astype(leaf.dtype), state.variables)
    return state._replace(params=params, variables=variables, ema=None if state.ema is None else params)


def spoilt(state, *paths):
    """Return a state whose leaves at these paths are NaN."""
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: np.full_like(leaf, np.nan) if path in paths else np.array(leaf), state
    )


def floats(tree):
    """Return the paths of all leaves that may be NaN."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return [path for path, leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.floating)]


def named(path) -> str:
    """Return how an error names a leaf."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def bits(tree):
    """Return every leaf as its bytes, NaN among them."""
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def assert_a_step_keeps_the_promises_of_a_run(experiment, raw) -> str:
    """Check a step on a raw batch, and return its text for every platform.

    What goes in comes out, in shape and type, and is trained in nearly every leaf; equal states have equal successors,
    and other steps draw other numbers; a NaN in any collection is named; where parameters are NaN, the loss or its
    gradient tells, whatever the model does to a NaN.
    """
    program, hyperparameters = split(experiment)
    state = drawn(experiment)
    traced = jax.jit(functools.partial(train_step, program)).trace(hyperparameters, state, raw)
    text = traced.lower(lowering_platforms=("cpu", "cuda", "tpu")).as_text()
    step = functools.partial(traced.lower().compile(), hyperparameters)

    after, metrics = jax.device_get(step(state, raw))
    kinds = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), tree) for tree in (state, after)]
    assert kinds[0] == kinds[1] and metrics["objective"].dtype == np.float32
    assert after.step == 1 and metrics["fault"] != NONFINITE and first_not_finite(after) is None
    assert np.isfinite(metrics["objective"]) and np.isfinite(metrics["gradient_norm"])
    moved = jax.tree.map(lambda one, other: bool(np.any(one != other)), state.params, after.params)
    assert np.mean(jax.tree.leaves(moved)) > 0.9  # a branch that is dropped learns nothing

    assert bits(step(state, raw)) == bits((after, metrics))
    later = step(state._replace(step=np.int32(1)), raw)[1]
    assert later["objective"] != metrics["objective"], "dropout is that of the step before"

    for part in ("params", "variables", "opt_state", "ema"):
        for path in [path for path in floats(state) if path[0].name == part][-1:]:
            assert first_not_finite(spoilt(state, path)) == named(path)
    params = [path for path in floats(state) if path[0].name == "params"]
    assert step(spoilt(state, *params), raw)[1]["fault"] == NONFINITE
    return text
