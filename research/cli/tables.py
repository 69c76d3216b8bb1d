"""Tables on the terminal."""

import sys

from rich.console import Console
from rich.table import Table


def plain(*headings: str) -> Table:
    """Return a table without lines, to add columns and rows to."""
    return Table(*headings, box=None, header_style="bold", padding=(0, 1))


def console() -> Console:
    """Return where tables are shown; as wide as they like where nobody looks."""
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 140)
