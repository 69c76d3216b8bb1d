"""What is compiled for an experiment, as digests that are the same wherever and however it runs."""

import functools
import hashlib
import re
from collections.abc import Callable
from typing import Any

import jax

from research.experiment import Experiment
from research.training.identity.kept import Kept
from research.training.update.shapes import PROGRAMS, Kinds, Spec, arguments_of, key, shapes_of
from research.training.update.step import eval_step, init_state, train_step

KEPT = Kept("digests", 1024)
"""Digests of programs from one process to the next: tracing and lowering takes one to three seconds."""

DEFINED = re.compile(r"func\.func (?:public |private )?@([\w.$-]+)")
NAMED = re.compile(r"@([\w.$-]+)")
RESULT = re.compile(r'jax\.result_info = "[^"]*"')


def programs(experiment: Experiment, code: str) -> dict[str, str]:
    """Return digests of what initialises, trains and evaluates an experiment, by name.

    Each is StableHLO as it is lowered for one CPU, one run and one step from a batch of raw examples, however the run
    itself divides, repeats or gathers them; nothing is compiled. Names of functions and results do not enter.

    Args:
        experiment: whose programs they are.
        code: a digest of all that they are made from besides the experiment, under which they are kept.

    Raises:
        UsageError: model, task or data do not fit together.
    """
    return dict(_programs(*key(experiment), code))


@functools.lru_cache(maxsize=PROGRAMS)
def _programs(program: Experiment, kinds: Kinds, batch: Spec, code: str) -> tuple[tuple[str, str], ...]:
    """Return the digests of all experiments of a program whose arguments are of these kinds."""
    place = hashlib.blake2b(repr((program, kinds, batch, code)).encode(), digest_size=16).hexdigest()
    if (kept := KEPT.get(place)) is not None:
        return tuple((name, text) for name, text in kept)
    hyperparameters, known = arguments_of(kinds), shapes_of(program, kinds, batch)
    given = (hyperparameters, known.state, known.batch, known.references)
    found = (
        ("initialization", _digest(init_state, program, hyperparameters)),
        ("step", _digest(train_step, program, *given)),
        ("evaluation", _digest(eval_step, program, *given)),
    )
    KEPT.put(place, found)
    KEPT.save()
    return found


def _digest(step: Callable[..., Any], program: Experiment, *arguments: Any) -> str:
    """Return the digest of a step of a program."""
    traced = jax.jit(functools.partial(step, program)).trace(*arguments)
    text = canonical(traced.lower(lowering_platforms=("cpu",)).as_text())
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def canonical(text: str) -> str:
    """Return StableHLO with the module and its functions numbered, and its results without names."""
    names = ["main", *DEFINED.findall(text)]
    numbers = {name: str(number) for number, name in enumerate(dict.fromkeys(names))}
    body = text.partition("\n")[2]  # the first line names the module
    return RESULT.sub("", NAMED.sub(lambda match: f"@{numbers.get(match[1], match[1])}", body))
