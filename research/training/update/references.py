"""Frozen networks that a task looks at: what they give for a batch is part of the batch.

Their parameters are the last argument of a step. They are no part of its state, so nothing updates, donates or saves
them, and runs that are trained together share them.
"""

from typing import Any

import jax

from research.experiment import Experiment
from research.training.update.state import TrainState

References = dict[str, Any]
"""The collections of each network by its name: {"teacher": {"params": ..., ...}}."""

NONE: References = {}
"""What an experiment without references hands to its steps."""


def observed(experiment: Experiment, batch: Any, references: References) -> Any:
    """Return a prepared batch with what every reference gives for it in evaluation, under its name."""
    given = {}
    for name, source in experiment.references:
        inputs = source.task.inputs(source.model, batch)
        given[name] = jax.lax.stop_gradient(source.model.apply(references[name], inputs, train=False))
    return {**batch, **given}


def collections(state: TrainState) -> Any:
    """Return what a finished run is as a reference: its parameters as they are evaluated, and its variables."""
    return {"params": state.evaluated, **state.variables}
