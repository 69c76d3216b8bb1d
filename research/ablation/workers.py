"""Workers: further processes that run the same command and share its work through the folder of the study.

`research.ablation.claims` shares the work among any processes that see the folder. So an engine does nothing but start
such processes, here (`processes`), in a queue (`slurm_engine`) or on a cluster (`ray_engine`), and wait for them.
"""

import ast
import contextlib
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from research.errors import UsageError


def command() -> list[str]:
    """Return the command line of a worker: that of this process, as a helper that adds nothing and reports nothing."""
    return [sys.executable, *sys.orig_argv[1:], "--worker", "--progress", "none"]


@contextlib.contextmanager
def processes(words: Sequence[str], count: int) -> Iterator[None]:
    """Let `count` processes on this machine run a command; wait for them, or stop them where this one fails."""
    started = [subprocess.Popen(words, stdout=subprocess.DEVNULL) for _ in range(count)]
    try:
        yield
        for process in started:
            process.wait()
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait()


def settings(texts: Iterable[str], flag: str) -> dict[str, Any]:
    """Return what ``KEY=VALUE`` texts of a flag say, numbers as numbers. Raises `UsageError` on another form."""
    found: dict[str, Any] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.isidentifier():
            raise UsageError(f'{flag} takes KEY=VALUE, not "{text}"')
        try:
            found[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[key] = value
    return found
