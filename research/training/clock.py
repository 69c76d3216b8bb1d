"""Where the wall time of a run goes."""

import contextlib
import time
from collections.abc import Iterator

PHASES = ("compile", "input", "step", "evaluate", "checkpoint")


class Clock:
    """Seconds by phase; `spent` carries over what earlier parts of an interrupted run used."""

    def __init__(self) -> None:
        self._seconds = dict.fromkeys(PHASES, 0.0)
        self._total = 0.0
        self._start = time.perf_counter()

    def carry(self, spent: dict[str, float]) -> None:
        """Add the seconds of a part of the run that is already done."""
        for phase in PHASES:
            self._seconds[phase] += spent.get(phase, 0.0)
        self._total += spent.get("total", 0.0)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens within towards `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[name] += time.perf_counter() - start

    def training(self) -> float:
        """Return the seconds spent on input and steps, without compilation."""
        return self._seconds["input"] + self._seconds["step"]

    def seconds(self) -> dict[str, float]:
        """Return the seconds of every phase and in total, rounded to milliseconds."""
        total = self._total + time.perf_counter() - self._start
        return {name: round(value, 3) for name, value in {**self._seconds, "total": total}.items()}
