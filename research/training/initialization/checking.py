"""Whether the parts of an experiment fit together, found before anything is computed."""

from research.data.schema import Schema, Tokens
from research.errors import UsageError
from research.experiment import Experiment, leaves
from research.models.model import as_model, check_call
from research.optimization.paths import check_path, flat
from research.tasks import Classification
from research.training.initialization.order import check_cut, check_order
from research.training.initialization.references import check_references
from research.training.initialization.start import check_start
from research.training.storage.environment import settings
from research.training.update.shapes import Shapes, outputs, shapes


def check(experiment: Experiment, begun: bool = False) -> Shapes:
    """Raise `UsageError` unless model, task and data fit together; return the shapes, for which the model is traced.

    A run that has `begun` does not need again what it began with. Nothing is computed.
    """
    check_settings()
    check_references(experiment)
    check_parts(experiment)
    check_order(experiment)
    check_call(experiment.model)
    found = shapes(experiment)
    schema = experiment.data.schema()
    experiment.task.check(schema, found.outputs)
    experiment.task.check_references(found.given, found.outputs)
    check_vocabularies(experiment, schema)
    check_mixing(experiment, found)
    check_auxiliary(experiment, found)
    check_groups(experiment, found)
    check_cut(experiment, found)
    if not begun:
        check_start(experiment, found)
    return found


def check_settings() -> None:
    """Raise `UsageError` where JAX is to refuse what programs here do: they combine integers and floats."""
    if settings()["numpy_dtype_promotion"] != "standard":
        raise UsageError("jax_numpy_dtype_promotion is strict, which programs here do not keep to: set it to standard")


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


def check_vocabularies(experiment: Experiment, schema: Schema) -> None:
    """Raise `UsageError` where the data has token ids that the model does not know."""
    for entry, known in as_model(experiment.model).vocabularies().items():
        given = schema.entries.get(entry)
        if isinstance(given, Tokens) and known < given.ids:
            found = [path for path, leaf, _ in leaves(experiment.model, "model") if leaf == known]
            remedy = " or ".join(path for path in found if path.endswith("vocabulary")) or "a larger vocabulary"
            raise UsageError(f"the data has {given.ids} token ids, the model knows {known}: set {remedy}")


def check_mixing(experiment: Experiment, shapes: Shapes) -> None:
    """Raise `UsageError` where training examples are mixed and the task would learn from one label of two."""
    if "share" in shapes.augmented and not experiment.task.mixes:
        raise UsageError(
            f"{type(experiment.task).__name__} does not know the labels of mixed examples: "
            "set data.mixup and data.cutmix to 0"
        )


def check_auxiliary(experiment: Experiment, shapes: Shapes) -> None:
    """Raise `UsageError` where auxiliary classifiers of the model would not be trained, or there are none to train."""
    weight = experiment.task.auxiliary if isinstance(experiment.task, Classification) else None
    if as_model(experiment.model).auxiliary and not weight:
        name = type(experiment.task).__name__
        remedy = f"{name} does not train them: set" if weight is None else "set task.auxiliary to 0.3, say, or"
        raise UsageError(f"the model has auxiliary classifiers that nothing trains: {remedy} model.auxiliary to False")
    if weight:
        outputs(experiment, shapes, shapes.batch, train=True)


def check_groups(experiment: Experiment, shapes: Shapes) -> None:
    """Raise `UsageError` where a group of the optimizer names parameters that the model does not have."""
    paths = [path for group in experiment.optimizer.groups for path in group.parameters]
    keys = flat(shapes.state.params) if paths else {}
    for path in paths:
        check_path(path, keys, "model")
