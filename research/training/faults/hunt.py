"""Where a run's numbers cease to be finite: its steps are repeated from the last checkpoint until they do."""

from collections.abc import Callable
from typing import Any, Protocol

from research.experiment import Experiment
from research.training.faults.nonfinite import (
    Diverged,
    NonFiniteMonitor,
    NotFinite,
    diverged,
    first_fault,
    first_not_finite,
    passed,
)
from research.training.update.state import TrainState


class Repeatable(Protocol):
    """A run that stands at a checkpoint and can take its steps again."""

    @property
    def step(self) -> int:
        """The steps done."""

    @property
    def current(self) -> TrainState:
        """The state at `step`."""

    def upcoming(self) -> int:
        """Return how many steps the next call takes."""

    def advance(self, count: int) -> None:
        """Take so many steps in one call."""

    def examined(self) -> tuple[dict[str, Any], list[int]]:
        """Return what is finite at the next update, and the rows of its batch."""


def locate(
    run: Repeatable, found: NotFinite, experiment: Experiment, sentry: NonFiniteMonitor, interrupted: Callable[[], bool]
) -> Diverged:
    """Return what to raise for a run that cannot continue, with what was the first not finite, and where."""
    saved = run.step or None
    while run.step < found.step:
        if interrupted():
            return diverged(found.what, sentry.rows(found.step), found.step, experiment, saved)
        count = run.upcoming()
        if found.leaf is None and run.step + count >= found.step:
            count = 1
            if fault := first_fault(*run.examined()):
                return diverged(*fault, run.step + 1, experiment, saved)
        run.advance(count)
        if found.leaf and (leaf := first_not_finite(run.current)):
            return diverged(leaf, sentry.rows(run.step), run.step, experiment, saved)
    return passed(found.step, experiment.steps, saved)
