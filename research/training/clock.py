"""Where the wall time of a run goes."""

import contextlib
import time
from collections.abc import Callable, Iterator

PHASES = ("compile", "input", "step", "evaluate", "checkpoint", "lost")


class Stopwatch:
    """The seconds of this process by phase."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now, self._start = now, now()
        self.seconds = dict.fromkeys(PHASES, 0.0)

    def total(self) -> float:
        """Return the seconds since it was started."""
        return self._now() - self._start

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens within towards `name`."""
        start = self._now()
        try:
            yield
        finally:
            self.seconds[name] += self._now() - start


def goodput(seconds: dict[str, float], starts: int) -> str:
    """Return in a sentence which share of a run's seconds were steps that count.

    Life begins with the call of `train`: what a process imports and how long nobody started one is not known here.
    """
    useful, total = seconds["step"], seconds["total"]
    spent = {
        "compile": seconds["compile"],
        "input": seconds["input"],
        "evaluation": seconds["evaluate"],
        "checkpoints": seconds["checkpoint"],
        "repeated": seconds["lost"],
    }
    spent["other"] = max(total - useful - sum(spent.values()), 0.0)
    parts = ", ".join(f"{name} {value:.1f}" for name, value in spent.items())
    counted = f"{useful:.1f} s of {total:.1f} s were steps that count"
    return f"goodput {100 * useful / max(total, 1e-9):.0f} %: {counted}; {parts} ({starts} start{'s' * (starts != 1)})"


class Clock:
    """Seconds by phase; `carry` adds what earlier parts of an interrupted run used.

    `began` is when it was made, in seconds since 1970. Of several runs that advance together each has a clock of its
    own, `among` of which take equal parts of what the clock of the `whole` measures; `share` is that part.
    """

    def __init__(
        self, now: Callable[[], float] = time.perf_counter, whole: "Clock | None" = None, among: int = 1
    ) -> None:
        self._watch: Stopwatch = Stopwatch(now) if whole is None else whole._watch
        self.share, self.began = 1 / among, time.time()
        self._before = dict.fromkeys((*PHASES, "total"), 0.0)

    def carry(self, spent: dict[str, float]) -> None:
        """Add the seconds of a part of the run that is already done."""
        for name in self._before:
            self._before[name] += spent.get(name, 0.0)

    def lose(self, seconds: float) -> None:
        """Add seconds of earlier parts that came to nothing: no checkpoint that was resumed from has them."""
        for name in ("lost", "total"):
            self._before[name] += max(seconds, 0.0)

    def repeat(self, spent: dict[str, float]) -> None:
        """Count the steps taken since a checkpoint as lost, which says what was `spent` before it."""
        taken = self._before["step"] + self._watch.seconds["step"]
        repeated = max(taken - spent.get("step", 0.0), 0.0)
        self._before["step"] -= repeated
        self._before["lost"] += repeated

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens within towards `name`, of runs that advance together for all of them."""
        with self._watch.phase(name):
            yield

    def training(self) -> float:
        """Return the seconds spent on input and steps, of runs that advance together by all of them."""
        return sum(self._before[name] + self._watch.seconds[name] for name in ("input", "step"))

    def life(self) -> float:
        """Return the seconds since the watch was started, or this run's part of them, rounded to milliseconds."""
        return round(self._watch.total() * self.share, 3)

    def seconds(self) -> dict[str, float]:
        """Return the seconds of every phase and in total, rounded to milliseconds."""
        measured = {**self._watch.seconds, "total": self._watch.total()}
        return {name: round(self._before[name] + value * self.share, 3) for name, value in measured.items()}
