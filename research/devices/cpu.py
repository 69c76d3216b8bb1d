"""What a process that computes on a CPU asks for: memory that it keeps, cores of its own, options of the compiler."""

import contextlib
import ctypes
import functools
import importlib.metadata
import importlib.util
import math
import os
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

import jax

VARIABLE = "CETERIS_KEEP_MEMORY"
"""Environment variable; "false" leaves the allocator alone."""

# Numbers of malloc.h. Larger blocks than the first go back at once: a step may begin before XLA has freed the block of
# the one before, so that a process would keep two or three of them. Without the last nothing is gained: XLA's threads
# would get arenas of their own, which hold no block of more than 64 MB.
SETTINGS = {"M_MMAP_THRESHOLD": (-3, 2**28), "M_TRIM_THRESHOLD": (-1, 2**31 - 1), "M_ARENA_MAX": (-8, 1)}

COMPILED = "/jax/core/compile/backend_compile_duration"

# XLA leaves some operations to a library, by default products of matrices, sums and convolutions. Of the last its own
# are faster but for the smallest.
LIBRARY = "xla_cpu_experimental_ynn_fusion_type"
LEFT_TO_IT = ("INDIVIDUAL_DOT", "REDUCE")

# By default a program begins what it can as early as it can, and copies every parameter that is both updated and read
# for a norm. Told this, it needs less memory besides its arguments, to the same bits.
COMPILER_OPTIONS = {
    LIBRARY: ",".join(f"LIBRARY_FUSION_TYPE_{name}" for name in LEFT_TO_IT),
    "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
    "xla_cpu_copy_insertion_use_region_analysis": True,
}


def compiler_options() -> dict[str, Any]:
    """Return what XLA's compiler for CPUs is told, but for what the environment's XLA_FLAGS say."""
    flags = os.environ.get("XLA_FLAGS", "")
    return {name: value for name, value in COMPILER_OPTIONS.items() if name not in flags}


def keep_memory() -> bool:
    """Keep the memory that a step frees for the next one, from here on in this process; return whether that is done.

    XLA allocates what a program needs between its operations anew at every call, and glibc takes large blocks from the
    system and gives them back, which makes every step touch tens of thousands of new pages. What compiling took goes
    back all the same, as do blocks of more than 256 MiB. Done on Linux with glibc alone, unless
    CETERIS_KEEP_MEMORY=false, and best before jax has started its threads.
    """
    if os.environ.get(VARIABLE, "").lower() in ("0", "false", "off", "no"):
        return False
    try:
        c = ctypes.CDLL(None)
        if not hasattr(c, "gnu_get_libc_version"):
            return False
    except (OSError, TypeError):  # TypeError: Windows has no library of the process itself
        return False
    if not all(c.mallopt(parameter, value) for parameter, value in SETTINGS.values()):
        return False
    _give_back_what_compiling_took()
    return True


@functools.cache
def _give_back_what_compiling_took() -> None:
    """Return what is free to the system whenever a program has been compiled or read from the cache, from here on."""
    c = ctypes.CDLL(None)

    def give_back(event: str, duration_secs: float, **details: Any) -> None:
        """Take note of what JAX has done."""
        if event == COMPILED:
            c.malloc_trim(0)

    jax.monitoring.register_event_duration_secs_listener(give_back)


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
