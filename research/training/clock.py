"""Where the wall time of a run goes."""

import contextlib
import time
from collections.abc import Callable, Iterator

PHASES = ("compile", "input", "step", "evaluate", "checkpoint", "lost")


class Clock:
    """Seconds by phase; `carry` adds what earlier parts of an interrupted run used.

    `began` is when it was made, in seconds since 1970, and `share` the part of its process that it counts.
    """

    share = 1.0

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now, self._start, self.began = now, now(), time.time()
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._total = 0.0

    def carry(self, spent: dict[str, float]) -> None:
        """Add the seconds of a part of the run that is already done."""
        for phase in PHASES:
            self._seconds[phase] += spent.get(phase, 0.0)
        self._total += spent.get("total", 0.0)

    def lose(self, seconds: float) -> None:
        """Add seconds of earlier parts that came to nothing: no checkpoint that was resumed from has them."""
        self._seconds["lost"] += max(seconds, 0.0)
        self._total += max(seconds, 0.0)

    def repeat(self, spent: dict[str, float]) -> None:
        """Count the steps taken since a checkpoint as lost, which says what was `spent` before it."""
        repeated = max(self._seconds["step"] - spent.get("step", 0.0), 0.0)
        self._seconds["step"] -= repeated
        self._seconds["lost"] += repeated

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens within towards `name`."""
        start = self._now()
        try:
            yield
        finally:
            self._seconds[name] += self._now() - start

    def training(self) -> float:
        """Return the seconds spent on input and steps, without compilation."""
        return self._seconds["input"] + self._seconds["step"]

    def life(self) -> float:
        """Return the seconds since this clock was made, rounded to milliseconds."""
        return round(self._now() - self._start, 3)

    def seconds(self) -> dict[str, float]:
        """Return the seconds of every phase and in total, rounded to milliseconds."""
        total = self._total + self._now() - self._start
        return {name: round(value, 3) for name, value in {**self._seconds, "total": total}.items()}


class Share(Clock):
    """The clock of one of several runs that advance together: each takes an equal part of the time of the `whole`."""

    def __init__(self, whole: Clock, among: int) -> None:
        super().__init__()
        self._whole, self.share = whole, 1 / among

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens within towards `name`, for all of them."""
        with self._whole.phase(name):
            yield

    def training(self) -> float:
        """Return the seconds that all of them spent on input and steps, without compilation."""
        return self._whole.training()

    def life(self) -> float:
        """Return this run's part of the seconds since the clock of all was made, rounded to milliseconds."""
        return round(self._whole.life() * self.share, 3)

    def seconds(self) -> dict[str, float]:
        """Return this run's part of the seconds of every phase and in total, rounded to milliseconds."""
        before = {**self._seconds, "total": self._total}
        return {name: round(before[name] + value * self.share, 3) for name, value in self._whole.seconds().items()}


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
