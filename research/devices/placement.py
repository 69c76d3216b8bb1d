"""Compiling a pure step for the devices at hand, once per program."""

import functools
from collections.abc import Callable
from typing import Any

import jax


@functools.lru_cache(maxsize=128)
def place(step: Callable[..., Any], program: Any, donate_state: bool = False) -> Any:
    """Return `step(program, ...)` compiled, as a function of the remaining arguments.

    Equal programs get the very same function, so a new learning rate or seed compiles nothing. `donate_state` gives the
    memory of the second remaining argument to the result.
    """

    def placed(*arguments: Any) -> Any:
        return step(program, *arguments)

    placed.__name__ = step.__name__  # what profiles and compilation logs show
    return jax.jit(placed, donate_argnums=(1,) if donate_state else ())
