"""What it takes to begin: importing the command line, and the first step of a run without and with its programs kept.

    python -m benchmarks.startup [--experiment digits_cnn ...] [--rounds 3] [--output FOLDER]

Each is a process of its own. Seconds of the first step are what a run says of itself, those of the command also have
imports, data and evaluation in them. Cold: an empty compilation cache; warm: the one that this left behind.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import heading, machine

FIRST_STEP = re.compile(r"^first step after ([\d.]+) s: ([\d.]+) s tracing, ([\d.]+) s compiling", re.MULTILINE)
COLUMNS = ("command", "first step", "tracing", "compiling")


def timed(words: list[str], **environment: str) -> tuple[float, str]:
    """Return the seconds of a command of this Python, and what it printed."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words], check=True, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True
    )
    return time.perf_counter() - start, done.stdout


def begun(experiment: str, cache: str) -> dict[str, float]:
    """Train a single step by the command; return seconds by column."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["-m", f"experiments.{experiment}", "--steps", "1", "--progress", "lines", "--workdir", folder]
        seconds, printed = timed([*words, "--no-pictures"], JAX_COMPILATION_CACHE_DIR=cache)
    found = FIRST_STEP.search(printed)
    assert found is not None, printed
    return dict(zip(COLUMNS, (seconds, *map(float, found.groups())), strict=True))


def main() -> None:
    """Measure in turn, print a row each and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", nargs="+", default=["digits_cnn", "vowels_lstm", "text_transformer"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"), help="folder of startup.json")
    arguments = parser.parse_args()
    found = machine()
    print(heading(found))
    imports = [timed(["-c", "import research.cli"])[0] for _ in range(arguments.rounds)]
    bare = [timed(["-c", "import jax, flax.linen, optax"])[0] for _ in range(arguments.rounds)]
    for name, seconds in (("import research.cli", imports), ("import jax, flax.linen, optax", bare)):
        print(f"{name}: {min(seconds):.2f} s, median {statistics.median(seconds):.2f} s")
    rows: dict[str, dict[str, list[dict[str, float]]]] = {}
    print(" " * 24 + "".join(f"{name + ' s':>14}" for name in COLUMNS))
    for experiment in arguments.experiment:
        rows[experiment] = {"cold": [], "warm": []}
        for _ in range(arguments.rounds):
            with tempfile.TemporaryDirectory() as cache:
                for kind in ("cold", "warm"):
                    rows[experiment][kind].append(begun(experiment, cache))
        for kind, all_rounds in rows[experiment].items():
            middle = (statistics.median(each[name] for each in all_rounds) for name in COLUMNS)
            print(f"{experiment:>18} {kind:<5}" + "".join(f"{seconds:>14.2f}" for seconds in middle), flush=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    content = {"machine": found, "imports": {"research.cli": imports, "jax, flax, optax": bare}, "first steps": rows}
    (arguments.output / "startup.json").write_text(json.dumps(content, indent=2) + "\n")
    print(arguments.output / "startup.json")


if __name__ == "__main__":
    main()
