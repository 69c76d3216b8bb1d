"""Which metrics an evaluation will give, known before anything is computed."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from research.experiment import Experiment, split
from research.training.update.shapes import shapes
from research.training.update.step import eval_step


def metric_names(experiment: Experiment) -> tuple[str, ...]:
    """Return the names of the metrics of an evaluation; () where the task cannot say them of no examples.

    The evaluation is traced for its shapes, and the task summarizes sums of zeros, as of no examples.

    Raises:
        UsageError: model, task and data do not fit together.
    """
    program, hyperparameters = split(experiment)
    found = shapes(experiment)
    rows = jax.tree.leaves(found.batch)[0].shape[:1]
    beside = {"mask": jax.ShapeDtypeStruct(rows, jnp.bool_), "row": jax.ShapeDtypeStruct(rows, jnp.int32)}
    step = functools.partial(eval_step, program)
    sums = jax.eval_shape(step, hyperparameters, found.state, {**found.batch, **beside}, found.references)
    nothing: Any = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), sums)
    try:
        return tuple(experiment.task.summarize(nothing))
    except ArithmeticError:
        return ()
