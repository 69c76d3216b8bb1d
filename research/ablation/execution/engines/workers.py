"""Workers: further processes that run the same command and share its work through the folder of the study.

`research.ablation.store.claims` shares the work among any processes that see the folder. So an engine only starts such
processes, here (`processes`), in a queue (`slurm_engine`) or on a cluster (`ray_engine`), and waits for them.
"""

import ast
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from research.ablation.execution.modes.measuring import host_memory
from research.children import dying_with_this_process
from research.devices.cpu.cores import cores, divided, is_only_device, kept_to
from research.errors import UsageError

MOST = 8
MEMORY = 2**31  # bytes that have to be left for each process


def command(workers: int) -> list[str]:
    """Return the command line of one of some workers: that of this process, but that it adds and reports nothing."""
    return [sys.executable, *sys.orig_argv[1:], "--worker", "--workers", str(workers), "--progress", "none"]


def fitting(trials: int) -> int:
    """Return how many processes should share trials on this machine: one for each core of a CPU.

    The operations of a small step are too short to be divided, so processes with a core each take more steps than one
    with all cores; `benchmarks.sweep` measures it. Anything but a single CPU device is left to one process, which can
    use it whole.
    """
    if not (hasattr(os, "sched_setaffinity") and is_only_device()):
        return 1
    return max(1, min(cores(), trials, MOST, host_memory() // MEMORY))


@contextlib.contextmanager
def processes(words: Sequence[str], count: int) -> Iterator[None]:
    """Share what this process does with others on this machine, `count` in all, that run a command.

    Each keeps to its part of the cores, so jax must not have begun here. This process then waits for the others, which
    end with it; where it fails they are stopped.
    """
    own, *others = divided(count)
    started = []
    try:
        for part in others:
            with kept_to(part):
                started.append(
                    subprocess.Popen(
                        words,
                        stdout=subprocess.DEVNULL,
                        start_new_session=True,  # or Ctrl-C in the terminal would come to it too, and then again
                        preexec_fn=dying_with_this_process(),
                    )
                )
        with kept_to(own):
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
