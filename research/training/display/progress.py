"""What a run shows: a bar on a terminal, plain lines anywhere else."""

import contextlib
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, Literal, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

log = logging.getLogger(__name__)

Metrics = dict[str, float]


class Progress(Protocol):
    """What the loop tells whoever watches."""

    def say(self, text: str) -> None:
        """Show one line."""

    def advance(self, step: int) -> None:
        """Take note that `step` is under way."""

    def report(self, step: int, metrics: Metrics, seconds: float) -> None:
        """Show metrics at `step`, reached after `seconds` of training."""

    def close(self) -> None:
        """Leave the terminal as it was."""


def progress(kind: Literal["auto", "bar", "lines", "none"], steps: int, start: int, batch_size: int) -> Progress:
    """Return what shows a run from step `start` to `steps`; auto is a bar where standard output is a terminal."""
    if kind == "none":
        return Silence()
    bar = kind == "bar" or (kind == "auto" and sys.stdout is not None and sys.stdout.isatty())
    return Enduring(lambda: (TerminalBar if bar else Lines)(steps, start, batch_size))


def shown(metrics: Metrics) -> str:
    """Return metrics as text: ``loss 0.1234  accuracy 0.9876``."""
    return "  ".join(f"{name} {value:.4f}" for name, value in metrics.items())


class Speed:
    """Examples a second since the last report, and the seconds left."""

    def __init__(self, steps: int, start: int, batch_size: int) -> None:
        self._steps, self._step, self._batch_size, self._seconds = steps, start, batch_size, 0.0

    def update(self, step: int, seconds: float) -> tuple[float, float]:
        """Return throughput and time left at `step`, reached after `seconds` of training."""
        each = max(seconds - self._seconds, 1e-9) / max(step - self._step, 1)
        self._step, self._seconds = step, seconds
        return self._batch_size / each, (self._steps - step) * each


class Silence:
    """Shows nothing."""

    def say(self, text: str) -> None:
        """Show nothing."""

    def advance(self, step: int) -> None:
        """Show nothing."""

    def report(self, step: int, metrics: Metrics, seconds: float) -> None:
        """Show nothing."""

    def close(self) -> None:
        """Have nothing to undo."""


class Enduring:
    """Shows what another does, until that cannot be shown any more: whoever stops looking does not stop the run.

    It is made here, since a bar is drawn as soon as it is there.
    """

    def __init__(self, make: Callable[[], Progress]) -> None:
        self._shows: Progress = Silence()

        def begin(_: Progress) -> None:
            """Make what shows."""
            self._shows = make()

        self._try(begin)

    def say(self, text: str) -> None:
        """Show one line."""
        self._try(lambda shows: shows.say(text))

    def advance(self, step: int) -> None:
        """Take note that `step` is under way."""
        self._try(lambda shows: shows.advance(step))

    def report(self, step: int, metrics: Metrics, seconds: float) -> None:
        """Show metrics."""
        self._try(lambda shows: shows.report(step, metrics, seconds))

    def close(self) -> None:
        """Leave the terminal as it was."""
        self._try(lambda shows: shows.close())

    def _try(self, show: Callable[[Progress], None]) -> None:
        """Do something, for the last time where it fails: a pipe or terminal that is gone, a disk that is full."""
        try:
            show(self._shows)
        except (OSError, ValueError) as error:
            self._shows = Silence()
            log.warning("progress is not shown any more, as standard output failed (%s); the run continues", error)
            with contextlib.suppress(OSError, ValueError):  # what is still to be written there must not fail again
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Lines:
    """A line a report, for files and pipes."""

    def __init__(self, steps: int, start: int, batch_size: int) -> None:
        self._steps, self._speed = steps, Speed(steps, start, batch_size)

    def say(self, text: str) -> None:
        """Print one line at once."""
        print(text, flush=True)

    def advance(self, step: int) -> None:
        """Print nothing between reports."""

    def report(self, step: int, metrics: Metrics, seconds: float) -> None:
        """Print step, metrics, throughput and time left."""
        speed, left = self._speed.update(step, seconds)
        place = f"step {step:>{len(str(self._steps))}}/{self._steps}"
        self.say(f"{place}  {shown(metrics)}  {speed:,.0f} examples/s  {left:.0f} s left")

    def close(self) -> None:
        """Have nothing to undo."""


class TerminalBar:
    """A progress bar, with lines printed above it."""

    def __init__(self, steps: int, start: int, batch_size: int) -> None:
        columns: tuple[Any, ...] = (
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[metrics]}"),
            TimeRemainingColumn(),
        )
        self._speed = Speed(steps, start, batch_size)
        self._bar = Bar(*columns, console=Console(highlight=False))
        self._task = self._bar.add_task("training", total=steps, completed=start, metrics="compiling")
        self._bar.start()

    def say(self, text: str) -> None:
        """Print one line above the bar."""
        self._bar.console.print(text, markup=False)

    def advance(self, step: int) -> None:
        """Move the bar."""
        self._bar.update(self._task, completed=step)

    def report(self, step: int, metrics: Metrics, seconds: float) -> None:
        """Show metrics and throughput beside the bar."""
        speed, _ = self._speed.update(step, seconds)
        self._bar.update(self._task, metrics=f"{shown(metrics)}  {speed:,.0f} examples/s")

    def close(self) -> None:
        """Stop redrawing and leave the bar as it stands."""
        self._bar.stop()
