"""Copies of the folder of compiled programs, for what may leave one cut short: what is killed, or has a full disk."""

import contextlib
import os
import shutil
from pathlib import Path

from research.devices.cache import is_whole


def link(source: Path, target: Path) -> None:
    """Make a folder that begins with the programs of another.

    By links to each, not to the folder: JAX never writes over a program, and what is compiled stays in the copy.
    """
    target.mkdir(parents=True)
    for program in source.glob("*-cache"):
        with contextlib.suppress(FileNotFoundError):  # another run of the tests tidies the folder
            try:
                os.link(program, target / program.name)
            except OSError:  # on another disk, or where there are no links
                shutil.copy2(program, target / program.name)


def keep(copied: Path, source: Path) -> None:
    """Put what was compiled into a copy beside the programs that it began with, but for what was cut short."""
    for program in copied.glob("*-cache"):
        if not (source / program.name).exists() and is_whole(program):
            partial = source / f"{program.name}-{os.getpid()}"  # so that no other process finds a part of it
            shutil.copy2(program, partial)
            partial.replace(source / program.name)
