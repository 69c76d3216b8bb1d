"""The cores of this machine: how many a process may use, dividing them, and whether jax has anything else."""

import contextlib
import importlib.metadata
import importlib.util
import math
import os
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import jax


def cores() -> int:
    """Return how many cores this process may use: those that it is kept to, and that its control group pays for."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return allowed if quota == "max" else max(1, min(allowed, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):
        return allowed


def divided(count: int) -> list[frozenset[int]]:
    """Return equal sets of the cores of this process, one for each of `count` processes.

    They are empty where there are fewer cores than processes, or where the system keeps no process to cores.
    """
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    each = len(allowed) // count
    return [frozenset(allowed[index * each : (index + 1) * each]) for index in range(count)]


@contextlib.contextmanager
def kept_to(allowed: Set[int]) -> Iterator[None]:
    """Keep this thread and what it starts, threads and processes, to some cores; to no other ones where none is given.

    XLA has as many threads as there are cores when jax begins, so this takes effect before that.
    """
    if not allowed:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, allowed)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def is_only_device() -> bool:
    """Return whether jax will find nothing but one CPU, as far as can be told without letting it begin."""
    config: Any = jax.config
    flags = os.environ.get("XLA_FLAGS", "")
    if config.jax_num_cpu_devices > 1 or "xla_force_host_platform_device_count" in flags:
        return False
    if platforms := config.jax_platforms:
        return platforms == "cpu"
    plugins = importlib.metadata.entry_points(group="jax_plugins")
    return not plugins and not any(map(importlib.util.find_spec, ("jax_plugins", "libtpu")))
