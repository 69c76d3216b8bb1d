"""What it takes to begin: importing the command line, and the first step of a run without and with its programs kept.

    python -m benchmarks.startup [--experiment digits_cnn ...] [--rounds 3]

Each is a process of its own. Cold: an empty compilation cache; warm: the one that this left behind. Columns:

until       from the start of the process until it says that the first step is done; `x import` is that over the time
            that importing the command line took in the same round, a process of its own too
command     all of a run of one step, with evaluation
first step, tracing, compiling
            what a run says of itself, without imports
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from typing import Any

from benchmarks.drawing import Bars
from benchmarks.machine import heading, machine
from benchmarks.tables import compare
from benchmarks.writing import parser_of, say_where, write

FIRST_STEP = re.compile(r"^first step after ([\d.]+) s: ([\d.]+) s tracing, ([\d.]+) s compiling")
OURS, BARE = "import research.cli", "import jax, flax.linen, optax"
COLUMNS = ("until", "command", "first step", "tracing", "compiling")
KINDS = ("cold", "warm")


def imported(statement: str) -> float:
    """Return the seconds of a process that does nothing but import."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return time.perf_counter() - start


def begun(experiment: str, cache: str) -> dict[str, float]:
    """Train a single step by the command; return seconds by column."""
    words = [sys.executable, "-u", "-m", f"experiments.{experiment}", "--steps", "1", "--progress", "lines"]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": cache}
    said: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        command = [*words, "--no-pictures", "--workdir", folder]
        start = time.perf_counter()
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if (match := FIRST_STEP.match(line)) is not None:
                    seconds = (time.perf_counter() - start, *map(float, match.groups()))
                    said = dict(zip(("until", *COLUMNS[2:]), seconds, strict=True))
        said["command"] = time.perf_counter() - start
    if process.returncode or len(said) != len(COLUMNS):
        raise SystemExit(f"{' '.join(command)} failed")
    return said


def measured(experiments: list[str], rounds: int) -> dict[str, Any]:
    """Return the seconds of imports and first steps of each round."""
    imports: dict[str, list[float]] = {statement: [] for statement in (OURS, BARE)}
    begins: dict[str, dict[str, list[dict[str, float]]]] = {name: {kind: [] for kind in KINDS} for name in experiments}
    for _ in range(rounds):
        for statement, seconds in imports.items():
            seconds.append(imported(statement))
        for experiment, kinds in begins.items():
            with tempfile.TemporaryDirectory() as cache:
                for kind in KINDS:
                    kinds[kind].append(begun(experiment, cache))
    return {"imports": imports, "first steps": begins}


def main() -> None:
    """Measure in turn, print a row each and write both files."""
    parser = parser_of(__doc__, "startup")
    parser.add_argument("--experiment", nargs="+", default=["digits_cnn", "vowels_lstm", "text_transformer"])
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    on = machine()
    print(heading(on))
    found = measured(arguments.experiment, arguments.rounds)
    for statement, row in compare({name: [[s] for s in each] for name, each in found["imports"].items()}).items():
        print(f"{statement}: {row['min']:.2f} s, median {row['median']:.2f} s")
    print(" " * 25 + "".join(f"{column + ' s, min':>18} {'median':>7}" for column in COLUMNS) + f" {'x import':>9}")
    ours = found["imports"][OURS]
    tables, panels = {}, [Bars("imports", "s", found["imports"], (OURS,))]
    for experiment, kinds in found["first steps"].items():
        tables[experiment] = {kind: table(kinds[kind], ours) for kind in KINDS}
        for kind, rows in tables[experiment].items():
            cells = "".join(f"{rows[column]['min']:>18.2f} {rows[column]['median']:>7.2f}" for column in COLUMNS)
            print(f"{experiment:>18} {kind:<6}{cells} {rows['until']['ratio']:>9.2f}")
        bars = {kind: [each["until"] for each in kinds[kind]] for kind in KINDS}
        panels.append(Bars(experiment, "s until the first step is done", bars, KINDS))
    write(arguments.output, "startup", {"machine": on, "tables": tables, **found}, panels)
    say_where(arguments.output, "startup")


def table(rounds: list[dict[str, float]], imports: list[float]) -> dict[str, dict[str, float]]:
    """Return least and median seconds by column, and how many times those of the imports of the same round."""
    turns = {column: [[found[column]] for found in rounds] for column in COLUMNS}
    return compare({"import": [[seconds] for seconds in imports], **turns}, "import")


if __name__ == "__main__":
    main()
