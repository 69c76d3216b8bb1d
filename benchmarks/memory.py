"""Whether memory grows over the steps of a run, and over the trials that one process runs one after another.

    python -m benchmarks.memory [--steps 2000] [--trials 200] [--output FOLDER]

Runs the small variant of `digits_cnn` by its command, with what `research.devices.cpu` does and without, and notes the
resident memory of the process at every line it prints. `growth` is the slope over the second half, by when all that is
kept has been allocated. Linux alone.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.machine import heading, machine
from research.devices.cpu import VARIABLE

LINES = 20
NUMBERS = {"steps": re.compile(r"^step +(\d+)/"), "trials": re.compile(r" (\d+) left$")}


def resident(process: int) -> float:
    """Return the resident memory of a process in MiB."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def watched(unit: str, words: list[str], kept: bool) -> list[tuple[int, float]]:
    """Run the command; return for each line that counts steps or trials its number, and MiB."""
    command = [sys.executable, "-m", "experiments.digits_cnn", *words, "--smoke", "--progress", "lines"]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, VARIABLE: str(kept)}
        line_by_line = {"stdout": subprocess.PIPE, "text": True, "env": environment}
        with subprocess.Popen([*command, "--workdir", folder], **line_by_line) as process:  # type: ignore[call-overload]
            for line in process.stdout:
                if (number := NUMBERS[unit].search(line)) is not None:
                    found.append((int(number[1]), resident(process.pid)))
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return found


def row(unit: str, kept: bool, noted: list[tuple[int, float]]) -> dict[str, Any]:
    """Return first, greatest and last memory in MiB, and the growth over the second half in KiB a step or trial."""
    numbers, memory = np.array(noted).T
    half = len(memory) // 2
    slope = np.polyfit(np.abs(numbers[half:] - numbers[0]), memory[half:], 1)[0]
    ends = {"first": memory[0], "greatest": memory.max(), "last": memory[-1], "growth": 1024 * slope}
    return {"unit": unit, "kept": kept, **{name: float(value) for name, value in ends.items()}, "noted": noted}


def main() -> None:
    """Measure, print a row each and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--trials", type=int, default=200, help="an even number")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"), help="folder of memory.json")
    arguments = parser.parse_args()
    every = str(max(1, arguments.steps // LINES))
    axis = ["--axis", "optimizer.learning_rate=1e-3", "--seeds", str(arguments.trials // 2), "--execution", "loop"]
    commands = {"steps": ["--steps", str(arguments.steps), "--log_every", every], "trials": ["ablate", *axis]}
    found, rows = machine(), []
    print(heading(found))
    print(f"{'':>12} {'kept':>6} {'first MiB':>10} {'greatest':>9} {'last':>7} {'growth KiB':>11}")
    for unit, words in commands.items():
        for kept in (True, False):
            rows.append(row(unit, kept, watched(unit, words, kept)))
            cells = [f"{rows[-1][name]:>{width}.0f}" for name, width in (("first", 10), ("greatest", 9), ("last", 7))]
            name = f"{getattr(arguments, unit)} {unit}"
            print(f"{name:>12} {kept!s:>6} {' '.join(cells)} {rows[-1]['growth']:>11.2f}", flush=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "memory.json").write_text(json.dumps({"machine": found, "rows": rows}, indent=2) + "\n")
    print(arguments.output / "memory.json")


if __name__ == "__main__":
    main()
