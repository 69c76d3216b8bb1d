"""Faults on purpose: a run that is killed, filled up and damaged by a schedule must end as an undisturbed one does.

    kill     SIGKILL within the next fraction of a second, whatever the process does then
    term     SIGTERM, as of a machine that is taken away: the run saves and ends
    nan      a parameter becomes NaN before the step, as by a passing fault of memory
    enospc   the next save meets a disk that takes no more
    bitflip  a bit of the newest checkpoint flips, and the process is killed; only where an older one is kept

Which strike is a function of (seed, kind, step). Each strikes a step once in the life of a run: it is written down in
chaos.jsonl before it does, and so the run ends.
"""

import contextlib
import dataclasses
import hashlib
import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from research.children import INTERRUPTED, signal_name
from research.errors import UsageError, suggestion
from research.experiment import Experiment, RunOptions
from research.training.storage.folder import Folder
from research.training.storage.lineage import append, read
from research.training.update.state import TrainState

KINDS = ("nan", "enospc", "term", "kill", "bitflip")
"""In the order in which they strike at one step: what ends the process comes last."""
SUPERVISOR = "CETERIS_SUPERVISOR"
"""The variable with the number of the process that starts this one again."""
KILL_WITHIN = 0.3
"""Seconds in which a kill comes: the time of a save of a small model."""
FULL_FROM = 1024
"""Bytes that at most still go into each file of a full disk."""


@dataclasses.dataclass(frozen=True)
class Schedule:
    """Which faults strike at which step."""

    rates: tuple[tuple[str, float], ...]
    seed: int = 0

    def strikes(self, kind: str, step: int) -> bool:
        """Return whether a kind strikes at a step, which it does with the probability it is given."""
        return self.draw(kind, step, "strikes") < dict(self.rates).get(kind, 0.0)

    def draw(self, kind: str, step: int, purpose: str) -> float:
        """Return a number in [0, 1), uniform and independent of those of other arguments."""
        digest = hashlib.blake2b(f"{self.seed} {kind} {step} {purpose}".encode(), digest_size=8).digest()
        return (int.from_bytes(digest) >> 11) / 2**53


def parse(text: str, seed: int) -> Schedule:
    """Return the schedule that ``kill:0.1,nan:0.05`` describes. Raises `UsageError` where it describes none."""
    rates: dict[str, float] = {}
    for item in text.split(","):
        kind, colon, number = item.strip().partition(":")
        if kind not in KINDS:
            raise UsageError(f'chaos knows no fault "{kind}"{suggestion(kind, KINDS)}')
        if kind in rates:
            raise UsageError(f"chaos names {kind} twice")
        try:
            rates[kind] = float(number)
        except ValueError:
            raise UsageError(
                f'chaos needs the probability of {kind} at a step, such as {kind}:0.1, not "{item}"'
            ) from None
        if not 0 <= rates[kind] <= 1:
            raise UsageError(f"chaos needs a probability from 0 to 1 of {kind}, not {number}")
    return Schedule(tuple(rates.items()), seed)


def check(experiment: Experiment, options: RunOptions) -> Schedule:
    """Return the schedule that options ask for.

    Raises:
        UsageError: they describe none, or the run would not end as an undisturbed one does.
    """
    schedule = parse(options.chaos or "", options.chaos_seed)
    if "nan" in dict(schedule.rates) and (experiment.safety.nonfinite == "skip" or not options.stop_diverged):
        remedy = "safety.nonfinite to stop or rewind" if experiment.safety.nonfinite == "skip" else "stop_diverged"
        raise UsageError(
            f"chaos with nan changes the numbers of a run that continues with what is not finite: set {remedy}"
        )
    return schedule


def supervised() -> bool:
    """Return whether this process was started by one that will start it again."""
    return os.environ.get(SUPERVISOR) == str(os.getppid())


def strikes(folder: Folder) -> list[tuple[str, int]]:
    """Return what has struck a run so far: kinds and steps."""
    return [(line["kind"], line["step"]) for line in read(folder.chaos)]


class Faults:
    """The faults of one process; the run asks for them before its steps and around its saves."""

    def __init__(self, schedule: Schedule, folder: Folder) -> None:
        self._schedule, self._folder = schedule, folder
        self._struck = set(strikes(folder))
        self._full_at: int | None = None
        self._kills: list[threading.Timer] = []

    def before(self, step: int, count: int, state: TrainState) -> TrainState:
        """Inject the faults scheduled for the next `count` steps; return the state, spoilt if that is due."""
        for kind in KINDS:
            for at in range(step, step + count):
                if (kind, at) not in self._struck and self._schedule.strikes(kind, at):
                    state = self._strike(kind, at, state)
        return state

    def _strike(self, kind: str, step: int, state: TrainState) -> TrainState:
        """Let one fault strike."""
        match kind:
            case "nan":
                self._record(kind, step)
                return state._replace(params=self._spoilt(step, state.params))
            case "enospc":
                self._full_at = step  # until there is a save
            case "term":
                self._record(kind, step)
                os.kill(os.getpid(), signal.SIGTERM)
            case "kill":
                self._record(kind, step)
                delay = KILL_WITHIN * self._schedule.draw(kind, step, "delay")
                self._kills.append(threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)))
                self._kills[-1].daemon = True
                self._kills[-1].start()
            case "bitflip":
                self._flip(step)
        return state

    def _record(self, kind: str, step: int) -> None:
        """Write down that a fault strikes, before it does."""
        self._struck.add((kind, step))
        append(self._folder.chaos, json.dumps({"kind": kind, "step": step, "pid": os.getpid()}))

    def _spoilt(self, step: int, params: Any) -> Any:
        """Return parameters with one leaf made NaN."""
        leaves, structure = jax.tree.flatten(params)
        index = int(self._schedule.draw("nan", step, "leaf") * len(leaves))
        return jax.tree.unflatten(structure, [*leaves[:index], leaves[index] * jnp.nan, *leaves[index + 1 :]])

    def _flip(self, step: int) -> None:
        """Flip a bit of the newest checkpoint and end, where there is an older one to fall back to."""
        latest = self._folder.checkpoints / "latest"
        kept = sorted((path for path in latest.glob("*") if path.name.isdecimal()), key=lambda path: int(path.name))
        if len(kept) < 2:
            return
        files = sorted(path for path in kept[-1].rglob("*") if path.is_file() and path.stat().st_size)
        file = files[int(self._schedule.draw("bitflip", step, "file") * len(files))]
        self._record("bitflip", step)
        flip(file, int(self._schedule.draw("bitflip", step, "bit") * 8 * file.stat().st_size))
        os.kill(os.getpid(), signal.SIGKILL)

    @contextlib.contextmanager
    def saving(self, wait: Callable[[], None]) -> Iterator[None]:
        """Fill the disk for what is saved within, where that is due; `wait` returns when it is saved, or raises."""
        import resource  # POSIX only

        if self._full_at is None:
            yield
            return
        step, self._full_at = self._full_at, None
        self._record("enospc", step)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        # A write beyond the limit fails, in Python and in C++; the signal that comes with it is ignored by Python.
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(FULL_FROM * self._schedule.draw("enospc", step, "bytes")), hard))
        try:
            yield
            wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    def close(self) -> None:
        """Let a kill that is under way come."""
        for timer in self._kills:
            timer.join()


def flip(file: Path, bit: int) -> None:
    """Flip one bit of a file in place."""
    with file.open("r+b") as stream:
        stream.seek(bit // 8)
        (byte,) = stream.read(1)
        stream.seek(bit // 8)
        stream.write(bytes([byte ^ 1 << bit % 8]))


def summary(struck: list[tuple[str, int]]) -> str:
    """Return in words what has struck."""
    if not struck:
        return "no fault struck"
    steps = {kind: sorted(step for each, step in struck if each == kind) for kind in KINDS}
    parts = [f"{kind} at {', '.join(map(str, at))}" for kind, at in steps.items() if at]
    return f"{len(struck)} fault{'s' * (len(struck) > 1)} struck, before steps counted from 0: {'; '.join(parts)}"


def supervise(start: Callable[[], int], folder: Folder, received: list[int]) -> tuple[int, str]:
    """Start a run again and again until it is done; return the exit code, and why it was not done.

    It is started again only after a fault of the schedule has struck, of which there are finitely many.

    Args:
        start: runs it in a process; returns the exit code, or minus the signal that ended it.
        folder: where the run is.
        received: signals that ask this process to stop.
    """
    while True:
        before = len(strikes(folder))
        code = start()
        struck = {kind for kind, _ in strikes(folder)[before:]}
        if len(received) > 1:
            return 130, ""
        if received and (struck or code < 0):
            return INTERRUPTED, ""
        if code in (0, 2) or not struck or (code == INTERRUPTED and "term" not in struck):
            break
    return (1, f"it was ended by {signal_name(-code)}, and no fault of --chaos has struck") if code < 0 else (code, "")
