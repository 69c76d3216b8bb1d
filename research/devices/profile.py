"""A trace of a few training steps, which xprof, TensorBoard and Perfetto open."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from research.devices.slowest import WINDOW, parse, read, table
from research.errors import UsageError


class Window(NamedTuple):
    """Steps to trace: those from the state after `start` steps to the state after `stop`."""

    start: int
    stop: int


def window(text: str, total: int) -> Window:
    """Return what ``START:STOP`` says. Raises `UsageError` unless those are steps of a run of `total` steps."""
    found = re.fullmatch(r"(\d+):(\d+)", text, re.ASCII)
    if found is None:
        raise UsageError(f'--profile takes START:STOP, two numbers of steps such as 10:20, not "{text}"')
    start, stop = int(found[1]), int(found[2])
    if not start < stop <= total:
        raise UsageError(f"--profile {text} is no part of {total} steps: START < STOP <= {total} is needed")
    return Window(start, stop)


class Profile:
    """Traces the calls of a run that take the steps of a window, into a folder.

    Where a call takes several steps, whole calls are traced, at least the steps asked for. Steps that an earlier part
    of the run has taken are not in the trace.
    """

    def __init__(self, steps: Window, folder: Path) -> None:
        self.steps, self.folder = steps, folder
        self._marker: jax.profiler.TraceAnnotation | None = None
        self._first = 0

    def begin(self, step: int, count: int, state: Any) -> None:
        """Begin to trace where the `count` steps after `step` are the first to trace, once the device has `state`."""
        if self._marker is None and step < self.steps.stop and step + count > self.steps.start:
            jax.block_until_ready(state)
            self.folder.mkdir(parents=True, exist_ok=True)
            jax.profiler.start_trace(self.folder)
            self._first = step + 1
            self._marker = jax.profiler.TraceAnnotation(WINDOW)
            self._marker.__enter__()

    def ends(self, step: int) -> bool:
        """Return whether `step` is the last one to trace."""
        return self._marker is not None and step >= self.steps.stop

    def end(self, step: int, state: Any, compiled: Callable[[], str]) -> str:
        """End the trace after `step`, once the device has `state`, and return its slowest operations.

        `compiled` gives the text of the compiled step, which says where its operations come from.
        """
        jax.block_until_ready(state)
        self.close()
        program = parse(compiled())
        return table(read(self.folder, program.name), program, self._first, step)

    def close(self) -> None:
        """End the trace that is under way, if there is one."""
        if self._marker is not None:
            self._marker.__exit__(None, None, None)
            self._marker = None
            jax.profiler.stop_trace()
