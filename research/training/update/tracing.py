"""What the shapes of an experiment decide, traced once for all experiments of a program."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import jax

from research.experiment import Experiment, join, spec, split
from research.kernels.choice import forward_mode

T = TypeVar("T")

PROGRAMS = 64
"""How many are remembered."""


def traced_once(trace: Callable[..., T]) -> Callable[..., T]:
    """Let a function of an experiment return shapes and types of what it returns, and compute nothing.

    The arguments of the experiment's program are tracers in it, as in a compiled step, and so is all that is given
    besides, by shape; that must follow from the experiment. What was found for the last programs is remembered: a sweep
    asks for it several times a trial.
    """
    known: dict[Any, T] = {}

    @functools.wraps(trace)
    def remembered(experiment: Experiment, *shapes: Any) -> T:
        """Return what is known of the experiment's program."""
        program, arguments = split(experiment)
        types = {path: type(argument) for path, argument in arguments.items()}
        key = program, tuple(types.items()), tuple(sorted(spec(experiment).items()))
        if key not in known:
            if len(known) == PROGRAMS:
                del known[next(iter(known))]
            with forward_mode(program.forward_mode):
                known[key] = jax.eval_shape(lambda given, *rest: trace(join(program, given), *rest), arguments, *shapes)
        return known[key]

    return remembered
