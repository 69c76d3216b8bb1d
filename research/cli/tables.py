"""Tables on the terminal."""

import sys

from rich.console import Console
from rich.table import Table


def plain(*headings: str) -> Table:
    """Return a table without lines, to add columns and rows to."""
    return Table(*headings, box=None, header_style="bold", padding=(0, 1))


class PlainConsole(Console):
    """A console that leaves a broken pipe to the command, whose exit code rich would make 1."""

    def on_broken_pipe(self) -> None:
        """Raise the error that is being handled."""
        raise


def console() -> Console:
    """Return where tables are shown; as wide as they like where nobody looks."""
    return PlainConsole(highlight=False, markup=False, width=None if sys.stdout.isatty() else 140)
