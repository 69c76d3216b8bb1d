"""Processes that this one starts and looks after: they are told of a signal, and do not outlive it."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import FrameType

POLL_SECONDS = 0.05
INTERRUPTED = 75


@contextlib.contextmanager
def signals(sentence: str) -> Iterator[list[int]]:
    """Give a list of the signals that have come; the first one is answered by a sentence."""
    received: list[int] = []

    def receive(number: int, frame: FrameType | None) -> None:
        received.append(number)
        os.write(2, f"\n{sentence}\n".encode() if len(received) == 1 else b"\n")

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def dying_with_this_process() -> Callable[[], None] | None:
    """Return what a new process does first, to end with this one even where this one is killed; on Linux only."""
    if not sys.platform.startswith("linux"):
        return None
    library, parent, request = ctypes.CDLL(None), os.getpid(), 1  # PR_SET_PDEATHSIG

    def prepare() -> None:
        library.prctl(request, int(signal.SIGKILL))
        if os.getppid() != parent:  # it has been killed already
            os._exit(1)

    return prepare


def signal_name(number: int) -> str:
    """Return the name of a signal, its number where it has none."""
    with contextlib.suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"


def run(command: Sequence[str], environment: Mapping[str, str], received: list[int]) -> int:
    """Run a command to its end; return its exit code, or minus the signal that ended it.

    It is asked to stop by the first signal `received`, and killed with its children by the second.
    """
    process = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        start_new_session=True,  # or Ctrl-C in the terminal would come to it too
        preexec_fn=dying_with_this_process(),
    )
    asked = False
    try:
        while process.poll() is None and len(received) < 2:
            time.sleep(POLL_SECONDS)
            if received and not asked:
                asked = True
                process.terminate()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    return process.wait()
