"""Standard streams that may be closed."""

import os
import sys


def open_streams() -> None:
    """Open what was closed of standard input, output and error, as by `>&-`, so that nothing fails for want of them.

    The next file to be opened, such as a journal, would else get the number of standard error, and XLA's messages.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", closefd=False))
