"""What the garbage collector need not look through."""

import functools
import gc


@functools.cache
def leave_out_imports() -> None:
    """Let the collector leave out what is there by now, which is modules: they stay until the process ends.

    Looking through them, time and again while the next modules are imported and the step is traced, took 0.2 of the
    1.0 s between the imports and the first step of a small network whose programs are kept. Done once in a process,
    since what is garbage already is left out as well.
    """
    gc.freeze()
