"""Whether the parts of an experiment fit together, found before anything is computed."""

from typing import Any

import jax

from research.data import Batch
from research.data.schema import Schema, Tokens
from research.errors import UsageError
from research.experiment import Experiment, leaves, spec
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


@traced_once
def evaluated(
    experiment: Experiment, state: TrainState, batch: Batch, references: References
) -> tuple[dict[str, Any], Any]:
    """Return what each reference gives for a batch by its name, and the outputs of evaluation mode."""
    batch = observed(experiment, experiment.data.preprocess(batch), references)
    outputs, _ = experiment.task.forward(experiment.model, state.params, state.variables, batch)
    return {name: batch[name] for name in references}, outputs


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
