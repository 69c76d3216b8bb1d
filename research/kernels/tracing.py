"""Functions that the layers of a network call with the same shapes, one after another."""

import functools
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import jax

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def traced_once(static: Sequence[str] = ()) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """Return a decorator for a pure function, which `jit` remembers for arguments of equal shapes, `static` ones equal.

    So is its derivative, and the program gets no call of a function: tracing takes less time, and the numbers are the
    same. Whatever else the function depends on must be an argument, or be asked for by the caller.
    """
    return functools.partial(jax.jit, static_argnames=tuple(static), inline=True)
