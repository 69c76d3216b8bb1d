"""How fast training batches are read: from the device, from memory, and decoded anew by threads.

    python -m benchmarks.input [experiment] [--batches 500] [--rounds 3] [--output FOLDER]

Each is a process of its own, with and without what `research.devices.cpu` does: one arena of the allocator for all
threads might make those that decode wait for each other. Residencies are those of `--residency`.
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import jax

from benchmarks.machine import heading, machine
from research.data import Batches, Residency, gather
from research.devices.cpu import VARIABLE, keep_memory

RESIDENCIES = [name for name in get_args(Residency) if name != "auto"]
WARM_UP = 10


def alone(experiment: str, residency: Residency, count: int) -> None:
    """Read batches in this process and print how many a second."""
    keep_memory()
    recipe = importlib.import_module(f"experiments.{experiment}").experiment
    batches = Batches(recipe.data.open("train"), recipe.batch_size, 0, residency)
    taken = jax.jit(gather)
    for step in range(WARM_UP + count):
        if step == WARM_UP:
            start = time.perf_counter()
        jax.block_until_ready(taken(batches.feed_at(step)))
    print(count / (time.perf_counter() - start))
    batches.close()


def main() -> None:
    """Measure in turn, print a row each and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experiment", nargs="?", default="digits_cnn")
    parser.add_argument("--batches", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--residency", choices=RESIDENCIES, help="measure this one alone, in this process")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"), help="folder of input.json")
    arguments = parser.parse_args()
    if arguments.residency is not None:
        return alone(arguments.experiment, arguments.residency, arguments.batches)
    words = [sys.executable, "-m", "benchmarks.input", arguments.experiment, "--batches", str(arguments.batches)]
    found = machine()
    print(heading(found))
    sides = [(residency, kept) for residency in RESIDENCIES for kept in ("true", "false")]
    speeds: dict[tuple[str, str], list[float]] = {side: [] for side in sides}
    for index in range(arguments.rounds):
        for residency, kept in sides if index % 2 == 0 else sides[::-1]:
            command, environment = [*words, "--residency", residency], {**os.environ, VARIABLE: kept}
            done = subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, text=True)
            speeds[residency, kept].append(float(done.stdout))
    print(f"{'':>8} {'memory kept':>12} {'batches/s, best':>16} {'median':>8}")
    for (residency, kept), several in speeds.items():
        print(f"{residency:>8} {kept:>12} {max(several):>16.0f} {statistics.median(several):>8.0f}")
    arguments.output.mkdir(parents=True, exist_ok=True)
    rows = [{"residency": side[0], "kept": side[1] == "true", "speeds": several} for side, several in speeds.items()]
    content = {"machine": found, "experiment": arguments.experiment, "rows": rows}
    (arguments.output / "input.json").write_text(json.dumps(content, indent=2) + "\n")
    print(arguments.output / "input.json")


if __name__ == "__main__":
    main()
