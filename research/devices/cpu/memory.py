"""The memory that a process on a CPU keeps from one step to the next."""

import ctypes
import functools
import os
from typing import Any

import jax

VARIABLE = "CETERIS_KEEP_MEMORY"
"""Environment variable; "false" leaves the allocator alone."""

# Numbers of malloc.h. Larger blocks than the first go back at once: a step may begin before XLA has freed the block of
# the one before, so that a process would keep two or three of them. Without the last nothing is gained: XLA's threads
# would get arenas of their own, which hold no block of more than 64 MB.
SETTINGS = {"M_MMAP_THRESHOLD": (-3, 2**28), "M_TRIM_THRESHOLD": (-1, 2**31 - 1), "M_ARENA_MAX": (-8, 1)}

COMPILED = "/jax/core/compile/backend_compile_duration"


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
