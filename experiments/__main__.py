"""All experiments, with what the docstring of each claims, costs and gave; none of them is imported."""

import ast
import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from research.interrupts import ends_at_ctrl_c

PART = re.compile(r"^(Claim|Command|Cost|Result) +(.+(?:\n +.+)*)", flags=re.MULTILINE)


def listed(folder: Path) -> dict[str, dict[str, str]]:
    """Return the parts of the docstring of every module in a folder; one that has none gives its first line."""
    found = {}
    for path in sorted(folder.glob("[!_]*.py")):
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"), str(path))) or ""
        parts = {name: " ".join(text.split()) for name, text in PART.findall(doc)}
        found[path.stem] = {"Claim": doc.partition("\n")[0], **parts}
    return found


def shown(experiments: dict[str, dict[str, str]]) -> Table:
    """Return the table, which rich fits to the width that there is."""
    table = Table(box=None, header_style="bold", padding=(0, 2, 1, 0), expand=True)
    table.add_column("experiment", no_wrap=True)
    for heading, ratio in (("claim", 3), ("cost", 2), ("result", 3)):
        table.add_column(heading, ratio=ratio)
    for name, parts in experiments.items():
        table.add_row(name, *(parts.get(part, "") for part in ("Claim", "Cost", "Result")))
    return table


def main(words: list[str]) -> int:
    """Print the table and return the exit code."""
    if words:
        print(f"error: to run an experiment, name it so: python -m experiments.{words[0]}", file=sys.stderr)
        return 2
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a sign that the output's encoding lacks costs no traceback
    with ends_at_ctrl_c():
        console = Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 140)
        console.print(shown(listed(Path(__file__).parent)))
        console.print(
            "python -m experiments.NAME trains one; --help says what else it does, --smoke tries it in seconds."
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
