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


class Share(Clock):
    """The clock of one of several runs that advance together: each takes an equal part of the time of the `whole`."""

    def __init__(self, whole: Clock, among: int) -> None:
        super().__init__()
        self._whole, self._among, self._carried = whole, among, dict[str, float]()

    def carry(self, spent: dict[str, float]) -> None:
        """Add the seconds of a part of the run that is already done."""
        self._carried = spent

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count what happens within towards `name`, for all of them."""
        with self._whole.phase(name):
            yield

    def training(self) -> float:
        """Return the seconds that all of them spent on input and steps, without compilation."""
        return self._whole.training()

    def seconds(self) -> dict[str, float]:
        """Return this run's part of the seconds of every phase and in total, rounded to milliseconds."""
        whole = self._whole.seconds()
        return {name: round(self._carried.get(name, 0.0) + value / self._among, 3) for name, value in whole.items()}
