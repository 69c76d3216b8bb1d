"""What the shapes of an experiment decide: derived once for all experiments of a program, and handed on."""

import functools
from typing import Any, NamedTuple

import jax

from research.data import Batch
from research.errors import UsageError
from research.experiment import Experiment, Hyperparameters, Start, join, spec, split
from research.kernels.choice import forward_mode
from research.training.update.culprits import culprits
from research.training.update.references import References, collections, observed
from research.training.update.state import TrainState, init

Kinds = tuple[tuple[str, type], ...]
"""The path and the type of each argument of a program."""

Spec = tuple[tuple[str, Any], ...]
"""The entries of a raw batch, abstract."""

Key = tuple[Experiment, Kinds, Spec]

PROGRAMS = 64
"""How many are remembered."""


class Shapes(NamedTuple):
    """Shapes and types of what a run computes with, each leaf a `jax.ShapeDtypeStruct`."""

    batch: Batch
    """A raw batch."""
    augmented: Batch
    """The batch as it is prepared for training."""
    given: dict[str, Any]
    """What each reference gives for the batch in evaluation, by its name."""
    outputs: Any
    """What the model gives in evaluation."""
    state: TrainState
    """The state between two steps."""
    references: References
    """The collections of each frozen network."""
    starts: tuple[TrainState | None, ...]
    """The state of each run that this one starts from; None for a file."""


def shapes(experiment: Experiment) -> Shapes:
    """Return the shapes of an experiment, and compute nothing; a sweep asks for them several times a trial.

    Raises:
        UsageError: model, task or data do not fit together, or a field has a value that something of the user's cannot
            be traced with.
        Exception: whatever that raises where its code is wrong.
    """
    try:
        return shapes_of(*key(experiment))
    except UsageError:
        raise
    except Exception as error:
        wrong = culprits(experiment, lambda other: shapes_of(*key(other)))
        if not wrong:
            raise
        said = f"{type(error).__name__}: {str(error).strip()}".splitlines()[0]
        raise UsageError(f"{type(experiment.model).__name__} cannot be traced ({said}): set {wrong}") from error


def key(experiment: Experiment) -> Key:
    """Return all that shapes, and programs for raw batches, depend on."""
    program, hyperparameters = split(experiment)
    kinds = tuple((path, type(argument)) for path, argument in hyperparameters.items())
    return program, kinds, tuple(sorted(spec(experiment).items()))


def arguments_of(kinds: Kinds) -> Hyperparameters:
    """Return arguments of a program of the kinds that it takes."""
    return {path: kind() for path, kind in kinds}


def abstract_state(experiment: Experiment) -> TrainState:
    """Return the shapes and types of a state alone, without computing anything."""
    return _traced(_state, *split(experiment))


def outputs(experiment: Experiment, shapes: Shapes, batch: Batch, train: bool = False) -> Any:
    """Return the shapes of what the model gives for a raw batch, abstract too; only in training it has auxiliary heads.

    Raises:
        Exception: whatever the model raises where it cannot take such a batch.
    """

    def forward(experiment: Experiment, state: TrainState, batch: Batch, references: References) -> Any:
        """Return what the model gives."""
        batch, key = observed(experiment, experiment.data.preprocess(batch), references), jax.random.key(0)
        task, model = experiment.task, experiment.model
        return task.forward(model, state.params, state.variables, batch, key if train else None)[0]

    return _traced(forward, *split(experiment), shapes.state, batch, shapes.references)


@functools.lru_cache(maxsize=PROGRAMS)
def shapes_of(program: Experiment, kinds: Kinds, batch: Spec) -> Shapes:
    """Return the shapes of all experiments of a program whose arguments are of these kinds. Raises as `shapes` does."""
    return _traced(_of_all, program, arguments_of(kinds), dict(batch))


def _traced(trace: Any, program: Experiment, hyperparameters: dict[str, Any], *shapes: Any) -> Any:
    """Return shapes and types of what `trace` returns of an experiment whose arguments are tracers, as in a step."""
    with forward_mode(program.forward_mode):
        return jax.eval_shape(lambda given, *rest: trace(join(program, given), *rest), hyperparameters, *shapes)


def _of_all(experiment: Experiment, batch: Batch) -> Shapes:
    """Return all of whose shapes a run is to know."""
    state = _state(experiment)
    references = {name: collections(_state(source)) for name, source in experiment.references}
    prepared = observed(experiment, experiment.data.preprocess(batch), references)
    outputs, _ = experiment.task.forward(experiment.model, state.params, state.variables, prepared)
    return Shapes(
        batch=batch,
        augmented=experiment.data.preprocess(batch, jax.random.key(0)),
        given={name: prepared[name] for name in references},
        outputs=outputs,
        state=state,
        references=references,
        starts=tuple(_state(start.experiment) if isinstance(start, Start) else None for start in experiment.start),
    )


def _state(experiment: Experiment) -> TrainState:
    """Return a state as it is before the first step."""
    return init(experiment, jax.random.key(0))
