"""Standard streams that may be closed, full, or of another encoding than UTF-8."""

import codecs
import contextlib
import io
import os
import sys

PLAIN = {"Δ": "delta", "±": "+-", "−": "-", "–": "-", "×": "x", "†": "+", "→": "->", "←": "<-", "↑": "^", "↓": "v"}
"""What is written for the signs of our tables where an encoding lacks them; other characters are escaped."""


def open_streams() -> None:
    """Open what was closed of standard input, output and error, as by `>&-`, so that nothing fails for want of them.

    The next file to be opened, such as a journal, would else get the number of standard error, and XLA's messages. A
    stream whose encoding lacks a character shows something else for it, rather than end a study that has been run.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest number that is free: this one
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", closefd=False))
    codecs.register_error("ceteris", _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="ceteris")


def output_failed(probe: str = "") -> bool:
    """Return whether standard output can no longer be written to; what is left for it is given up then.

    Python would try again as it exits, and turn any exit code into 120. A `probe` is written first, as what could not
    be written before may be forgotten already.
    """
    try:
        sys.stdout.write(probe)
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """Return what to write for characters that an encoding lacks, and where to continue."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    plain = "".join(PLAIN.get(sign, sign.encode("ascii", "backslashreplace").decode()) for sign in lacking)
    return plain, error.end
