"""Whether data, model and calls have room for the order in which examples come."""

import logging

import flax
import jax

from research.data import Records, Uniform
from research.data.batching.training_order import full_steps
from research.errors import UsageError
from research.experiment import Experiment, RunOptions
from research.training.update.shapes import Shapes, outputs

log = logging.getLogger(__name__)


def check_order(experiment: Experiment) -> None:
    """Raise `UsageError` where examples are to be ordered by lengths that they lack, or by what are no boundaries."""
    data = experiment.data
    if isinstance(data.order, Uniform):
        return
    boundaries, full = data.order.boundaries, full_steps(data)
    if not full:
        raise UsageError(
            f"{type(data).__name__} has no examples of differing lengths to put into buckets: set data.order to "
            "Uniform()"
        )
    if not boundaries or list(boundaries) != sorted(set(boundaries)):
        raise UsageError(f"data.order.boundaries must ascend, each above the one before, not {boundaries}")
    if boundaries[-1] >= (longest := max(full.values())):
        raise UsageError(
            f"data.order.boundaries must be below the full length, and {boundaries[-1]} is not below {longest}"
        )


def check_calls(experiment: Experiment, options: RunOptions) -> None:
    """Raise `UsageError` where a call is to take several steps whose batches differ in length."""
    if options.steps_per_call > 1 and not isinstance(experiment.data.order, Uniform):
        raise UsageError(
            "a call takes several steps of one length, and the batches of a Bucketed order differ: set steps_per_call "
            "to 1, or data.order to Uniform()"
        )


def check_cut(experiment: Experiment, shapes: Shapes) -> None:
    """Raise `UsageError` where the model cannot take batches that are cut, as if it lays steps side by side."""
    order = experiment.data.order
    if isinstance(order, Uniform):
        return
    batch, shortest = dict(shapes.batch), order.boundaries[0]
    for name, steps in full_steps(experiment.data).items():
        b, _, *rest = batch[name].shape
        batch[name] = jax.ShapeDtypeStruct((b, min(steps, shortest), *rest), batch[name].dtype)
    try:
        outputs(experiment, shapes, batch)
    except flax.errors.ScopeParamShapeError as error:
        raise UsageError(
            f"{type(experiment.model).__name__} does not take the {shortest} steps that a Bucketed order cuts batches "
            "to in place of all: choose another model, or set data.order to Uniform()"
        ) from error


def compare_batch(experiment: Experiment, training: Records) -> None:
    """Warn where a batch is of more examples than there are: it is taken from several epochs, each of all of them."""
    if experiment.batch_size > len(training):
        log.warning(
            "a batch of %d examples is of more than the %d that there are to train on, so some of these are in it more "
            "than once: set batch_size to %d or less, unless that is meant",
            experiment.batch_size,
            len(training),
            len(training),
        )
