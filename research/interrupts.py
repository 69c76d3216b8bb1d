"""Ctrl-C: it ends a command that has nothing to save at once, with exit code 130 and no traceback."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType


class Raising:
    """A signal handler that raises `KeyboardInterrupt`, as Python's does, and remembers that it did."""

    def __init__(self) -> None:
        self.raised = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.raised = True
        raise KeyboardInterrupt


@contextlib.contextmanager
def as_raised(handler: Raising) -> Iterator[None]:
    """Let `KeyboardInterrupt` end what is done here even where a library has made an error of its own of it.

    JAX does so where the signal comes while Python compares two values for it.
    """
    try:
        yield
    except Exception:
        if handler.raised:
            raise KeyboardInterrupt from None
        raise


@contextlib.contextmanager
def ends_at_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C end this process, a command; what takes signals itself meanwhile, such as a run, decides until then.

    Outside the main thread, and where somebody else has taken or ignores the signal, it is left alone.
    """
    handler, main = Raising(), threading.current_thread() is threading.main_thread()
    ours = main and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, handler)
    try:
        with as_raised(handler):
            yield
    except KeyboardInterrupt:
        sys.stderr.flush()
        os._exit(130)  # at once: an orderly exit would wait for the threads that save
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)
