"""What of a value is compiled, and what is an argument of the compiled program."""

from typing import Any

import numpy as np

from research.experiment.paths import under
from research.experiment.value import Experiment
from research.fields import Placeholder, Seed, children, is_value, kind, rebuild

Hyperparameters = dict[str, Any]


def split(experiment: Experiment) -> tuple[Experiment, Hyperparameters]:
    """Return the program, hashable and with holes for its arguments, and the arguments by dotted path.

    Two experiments with equal programs share every compiled function. The arguments are Python numbers, which JAX takes
    as weakly typed float32 and int32, so that they never widen a bfloat16 computation; the seed is a uint32.
    """
    hyperparameters: Hyperparameters = {}

    def hollow(node: Any, path: str, annotation: Any) -> Any:
        inner = list(children(node, annotation))
        if inner:
            return rebuild(node, {name: hollow(child, under(path, name), note) for name, child, note in inner})
        if is_value(node) or kind(node, annotation) != "argument":
            return node
        hyperparameters[path] = np.uint32(node) if annotation is Seed else node
        return Placeholder()

    return hollow(experiment, "", Any), hyperparameters


def join(program: Experiment, hyperparameters: Hyperparameters) -> Experiment:
    """Put arguments, tracers if need be, back into the holes of a program."""

    def fill(node: Any, path: str) -> Any:
        if isinstance(node, Placeholder):
            return hyperparameters[path]
        return rebuild(node, {name: fill(child, under(path, name)) for name, child, _ in children(node)})

    return fill(program, "")
