"""What the command line keeps, kept by a script or a notebook too."""

from pathlib import Path

from research.devices.cache import cache_compilations
from research.devices.cpu.memory import keep_memory


def keep_programs_and_memory() -> Path | None:
    """Keep compiled programs for later processes and the memory of a step for the next; return where programs are.

    Every command does so. A script or a notebook calls this once, before anything is computed: importing changes
    nothing of jax or of the process. None says that programs are not kept. `cache_compilations` and `keep_memory` say
    what decides either.
    """
    keep_memory()
    return cache_compilations()
