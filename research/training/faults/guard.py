"""Signals: the first asks the run to stop after its step, the second stops it at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from research.devices import ask_to_stop, joined, stop_agreed
from research.errors import RunError
from research.interrupts import Raising, as_raised

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(RunError):
    """A run that stopped early, saved, and resumes when started again; the command line exits with 75."""


class Received(Raising):
    """A signal handler that remembers, says so unless it is `silent`, and does something at the first signal."""

    def __init__(self, first: Callable[[], None] = lambda: None, silent: bool = False) -> None:
        super().__init__()
        self._numbers: list[int] = []
        self._first, self._silent = first, silent
        self.at_once = False
        """Whether the first signal, too, raises `KeyboardInterrupt`."""

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self._numbers.append(number)
        if self.at_once or len(self._numbers) > 1:
            super().__call__(number, frame)
        if not self._silent:
            os.write(2, b"\nfinishing this step and saving; once more stops at once\n")
        self._first()

    def any(self) -> bool:
        """Return whether a signal has come."""
        return bool(self._numbers)

    def only(self) -> bool:
        """Return whether no second one has come."""
        return len(self._numbers) == 1


@contextlib.contextmanager
def interruptible(silent: bool = False) -> Iterator[Callable[[], bool]]:
    """Give a function that says whether SIGINT or SIGTERM has come; a second signal raises `KeyboardInterrupt`.

    Inside another one, as in a run of a sweep, it is that one's function, so that the sweep learns of the signal too.
    Outside the main thread, where Python takes no handlers, signals are left alone. Several processes that train one
    run are all asked by a signal to any of them, and the function says so to all after the same step. The answer to the
    first signal is left out where `silent`.
    """
    outer = signal.getsignal(SIGNALS[0])
    if isinstance(outer, Received):
        with as_raised(outer):
            yield stop_agreed if joined() else outer.any
        return
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    received = Received(ask_to_stop, silent) if joined() else Received(silent=silent)
    # Of several processes jax itself takes SIGTERM, and tells the others.
    before = {number: signal.signal(number, received) for number in (SIGNALS[:1] if joined() else SIGNALS)}
    try:
        with as_raised(received):
            yield stop_agreed if joined() else received.any
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def at_once(doing: str) -> Iterator[None]:
    """Let the first signal end what is done here, within `interruptible`, as nothing of it is to be saved.

    Several processes end together, after a step.

    Raises:
        Interrupted: a signal came; it says what was being done.
    """
    received = signal.getsignal(SIGNALS[0])
    if not isinstance(received, Received) or joined() or threading.current_thread() is not threading.main_thread():
        yield
        return
    received.at_once = True
    try:
        with as_raised(received):
            if received.any():  # before
                raise KeyboardInterrupt
            yield
    except KeyboardInterrupt:
        if received.only():
            received.raised = False
            raise Interrupted(f"stopped while {doing}; the same command begins again") from None
        raise
    finally:
        received.at_once = False
