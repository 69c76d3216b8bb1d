"""Signals: the first asks the run to stop after its step, the second stops it at once."""

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from research.errors import RunError

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(RunError):
    """A run that stopped early, saved, and goes on when started again; the command line exits with 75."""


@contextlib.contextmanager
def interruptible() -> Iterator[Callable[[], bool]]:
    """Give a function that says whether SIGINT or SIGTERM has come; a second signal raises `KeyboardInterrupt`.

    Outside the main thread, where Python takes no handlers, signals are left alone.
    """
    received: list[int] = []

    def handle(number: int, frame: FrameType | None) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)
        os.write(2, b"\nfinishing this step and saving; once more stops at once\n")

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
