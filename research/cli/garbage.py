"""What the garbage collector need not look through."""

import functools
import gc


@functools.cache
def leave_out_imports() -> None:
    """Let the collector leave out what is there by now, which is modules: they stay until the process ends.

    It would look through them time and again while the next modules are imported and the step is traced. Done once in a
    process, since what is garbage already is left out as well.
    """
    gc.freeze()
