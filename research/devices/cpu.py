"""What a process that computes on a CPU asks of the system's allocator."""

import ctypes
import os

VARIABLE = "CETERIS_KEEP_MEMORY"
"""Environment variable; "false" leaves the allocator alone."""

# Numbers of malloc.h. Without the last one nothing is gained: XLA's threads would get arenas of their own, which hold
# no block of more than 64 MB.
SETTINGS = {"M_MMAP_THRESHOLD": (-3, 2**31 - 1), "M_TRIM_THRESHOLD": (-1, 2**31 - 1), "M_ARENA_MAX": (-8, 1)}


def keep_memory() -> bool:
    """Keep the memory that a step frees for the next one, from here on in this process; return whether that is done.

    XLA allocates what a program needs between its operations anew at every call, and glibc takes large blocks from the
    system and gives them back, which makes every step touch tens of thousands of new pages. The process then stays as
    large as it was at its largest. Done on Linux with glibc alone, unless CETERIS_KEEP_MEMORY=false, and best before
    jax has started its threads.
    """
    if os.environ.get(VARIABLE, "").lower() in ("0", "false", "off", "no"):
        return False
    try:
        c = ctypes.CDLL(None)
        if not hasattr(c, "gnu_get_libc_version"):
            return False
    except (OSError, TypeError):  # TypeError: Windows has no library of the process itself
        return False
    return all(c.mallopt(parameter, value) for parameter, value in SETTINGS.values())
