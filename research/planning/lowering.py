"""A training step as a program: for devices that need not be here, and as the operations it consists of."""

import dataclasses
from typing import Any

import jax

from research.devices import ONE_DEVICE, Layout
from research.experiment import Experiment, split
from research.models.model import as_model
from research.training.stepping import compiled_train_step
from research.training.update.references import References
from research.training.update.shapes import shapes
from research.training.update.state import TrainState
from research.training.update.step import train_step


def lowered(experiment: Experiment, layout: Layout = ONE_DEVICE) -> jax.stages.Lowered:
    """Return the training step of an experiment lowered for the devices of a layout; nothing is computed.

    They may be described rather than real: `compile` then compiles for them ahead of time.
    """
    program, hyperparameters = split(experiment)
    return compiled_train_step(program, layout).lower(hyperparameters, *arguments(experiment, layout))


def arguments(experiment: Experiment, layout: Layout = ONE_DEVICE) -> tuple[TrainState, Any, References]:
    """Return state, batch and references of a training step as shapes, types and, on a mesh, shardings."""
    known = shapes(experiment)
    if layout.mesh is None:
        return known.state, known.batch, known.references
    rules = {name: as_model(source.model).partition for name, source in experiment.references}
    divided = {
        name: dataclasses.replace(layout, rules=rules[name]).described(tree) for name, tree in known.references.items()
    }
    return layout.described(known.state), layout.described(known.batch, "batch"), divided


def step_jaxpr(experiment: Experiment) -> Any:
    """Return the operations of a training step on one device, as a closed jaxpr; nothing is compiled."""
    program, hyperparameters = split(experiment)
    return jax.make_jaxpr(train_step, static_argnums=0)(program, hyperparameters, *arguments(experiment))
