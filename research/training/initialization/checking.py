"""Whether the parts of an experiment fit together, found before anything is computed."""

from typing import Any

import flax
import jax

from research.data import Batch, Uniform
from research.data.batching.training_order import full_steps
from research.data.schema import Schema, Tokens
from research.errors import UsageError
from research.experiment import Experiment, RunOptions, join, leaves, spec, split
from research.models.model import as_model
from research.optimization.paths import check_path, flat
from research.tasks import Classification
from research.training.initialization.references import check_references
from research.training.initialization.start import check_start
from research.training.update.references import References, abstract_references, observed
from research.training.update.state import TrainState, abstract_state
from research.training.update.tracing import traced_once


def check(experiment: Experiment, begun: bool = False) -> None:
    """Raise `UsageError` unless model, task and data fit together; traces the model and computes nothing.

    A run that has `begun` does not need again what it began with.
    """
    check_references(experiment)
    check_parts(experiment)
    check_order(experiment)
    given, outputs = evaluated(
        experiment, abstract_state(experiment), spec(experiment), abstract_references(experiment)
    )
    schema = experiment.data.schema()
    experiment.task.check(schema, outputs)
    experiment.task.check_references(given, outputs)
    check_vocabularies(experiment, schema)
    check_mixing(experiment)
    check_auxiliary(experiment)
    check_groups(experiment)
    check_cut(experiment)
    if not begun:
        check_start(experiment)


def check_parts(experiment: Experiment) -> None:
    """Raise `UsageError` where a batch cannot be computed in the parts that are asked for."""
    if experiment.batch_size % experiment.accumulation:
        raise UsageError(
            f"a batch of {experiment.batch_size} examples has no {experiment.accumulation} equal parts: "
            "set accumulation to a divisor of batch_size"
        )
    if experiment.accumulation > 1 and not experiment.task.additive:
        raise UsageError(
            f"the loss of {type(experiment.task).__name__} is none of single examples, so that parts of a batch have "
            "another one: set accumulation to 1"
        )


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


def check_cut(experiment: Experiment) -> None:
    """Raise `UsageError` where the model cannot take batches that are cut, as if it lays steps side by side."""
    order = experiment.data.order
    if isinstance(order, Uniform):
        return
    batch, full, shortest = spec(experiment), full_steps(experiment.data), order.boundaries[0]
    for name, steps in full.items():
        b, _, *rest = batch[name].shape
        batch[name] = jax.ShapeDtypeStruct((b, min(steps, shortest), *rest), batch[name].dtype)
    program, arguments = split(experiment)
    try:
        jax.eval_shape(
            lambda given, *rest: answers(join(program, given), *rest),
            arguments,
            abstract_state(experiment),
            batch,
            abstract_references(experiment),
        )
    except flax.errors.ScopeParamShapeError as error:
        raise UsageError(
            f"{type(experiment.model).__name__} does not take the {shortest} steps that a Bucketed order cuts batches "
            "to in place of all: choose another model, or set data.order to Uniform()"
        ) from error


def answers(
    experiment: Experiment, state: TrainState, batch: Batch, references: References
) -> tuple[dict[str, Any], Any]:
    """Return what each reference gives for a batch by its name, and the outputs of evaluation mode."""
    batch = observed(experiment, experiment.data.preprocess(batch), references)
    outputs, _ = experiment.task.forward(experiment.model, state.params, state.variables, batch)
    return {name: batch[name] for name in references}, outputs


evaluated = traced_once(answers)


@traced_once
def augmented(experiment: Experiment, batch: Batch) -> Batch:
    """Return a batch as it is prepared for training."""
    return experiment.data.preprocess(batch, jax.random.key(0))


@traced_once
def trained(experiment: Experiment, state: TrainState, batch: Batch, references: References) -> Any:
    """Return the outputs of training mode, the only one that has auxiliary classifiers."""
    batch = observed(experiment, experiment.data.preprocess(batch), references)
    return experiment.task.forward(experiment.model, state.params, state.variables, batch, jax.random.key(0))


def check_vocabularies(experiment: Experiment, schema: Schema) -> None:
    """Raise `UsageError` where the data has token ids that the model does not know."""
    for entry, known in as_model(experiment.model).vocabularies().items():
        given = schema.entries.get(entry)
        if isinstance(given, Tokens) and known < given.ids:
            found = [path for path, leaf, _ in leaves(experiment.model, "model") if leaf == known]
            remedy = " or ".join(path for path in found if path.endswith("vocabulary")) or "a larger vocabulary"
            raise UsageError(f"the data has {given.ids} token ids, the model knows {known}: set {remedy}")


def check_mixing(experiment: Experiment) -> None:
    """Raise `UsageError` where training examples are mixed and the task would learn from one label of two."""
    if "share" in augmented(experiment, spec(experiment)) and not experiment.task.mixes:
        raise UsageError(
            f"{type(experiment.task).__name__} does not know the labels of mixed examples: "
            "set data.mixup and data.cutmix to 0"
        )


def check_auxiliary(experiment: Experiment) -> None:
    """Raise `UsageError` where auxiliary classifiers of the model would not be trained, or there are none to train."""
    weight = experiment.task.auxiliary if isinstance(experiment.task, Classification) else None
    if as_model(experiment.model).auxiliary and not weight:
        name = type(experiment.task).__name__
        remedy = f"{name} does not train them: set" if weight is None else "set task.auxiliary to 0.3, say, or"
        raise UsageError(f"the model has auxiliary classifiers that nothing trains: {remedy} model.auxiliary to False")
    if weight:
        trained(experiment, abstract_state(experiment), spec(experiment), abstract_references(experiment))


def check_groups(experiment: Experiment) -> None:
    """Raise `UsageError` where a group of the optimizer names parameters that the model does not have."""
    paths = [path for group in experiment.optimizer.groups for path in group.parameters]
    keys = flat(abstract_state(experiment).params) if paths else {}
    for path in paths:
        check_path(path, keys, "model")
