"""What a training batch costs: from the device, from memory, decoded anew, and through torch's DataLoader.

    python -m benchmarks.input [experiment] [--peer PYTHON] [--batches 500] [--rounds 3]

Each side is a process of its own, in every second round backwards:

device, ram     the split is decoded once and lies there: `--residency` device and ram
grain           decoded anew every epoch, read ahead by Grain: `--residency stream`
untuned         grain without what `research.devices.cpu.memory` does: one arena of the allocator for all threads might
                make those that decode wait for each other
tfds            the data source of TensorFlow Datasets, which decodes the examples that are asked for, stacked by numpy
torch           torch's `DataLoader` over the decoded arrays in memory, as it is by default; --peer, or CETERIS_PEER,
                is a Python with PyTorch, which need not be installed beside JAX
workers         the same with two workers

A batch of ours is on the device when it counts as read: it has gone through a compiled program that does nothing but
gather it, as a step does. What a call of that program takes alone, for a batch that is on the device already, is
measured beside it and taken off, since a step is called anyway. A batch of torch's is a tensor in memory.
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.drawing import Bars
from benchmarks.machine import heading, machine
from benchmarks.tables import compare, in_turn
from benchmarks.writing import PEERS, add_peer, parser_of, say_where, without_peer, write
from research.data import Batches, Images, Residency, gather, indices_at
from research.devices.cpu.memory import VARIABLE, keep_memory
from research.experiment import Experiment

OURS: dict[str, Residency] = {"device": "device", "ram": "ram", "grain": "stream", "untuned": "stream"}
TORCH = {"torch": 0, "workers": 2}  # and how many processes read
SIDES = (*OURS, "tfds", *TORCH)
WARM_UP = 10
LEAST = 1e-7  # seconds: no difference between medians of calls is known better
STEP = 5e-3  # seconds of the step that the cost of a batch is a share of


def load(experiment: str) -> Experiment:
    """Return an experiment by the name of its module."""
    return importlib.import_module(f"experiments.{experiment}").experiment


def alone(experiment: Experiment, side: str, count: int) -> None:
    """Read batches in this process; print the seconds of each, and those of the call that it was made with."""
    keep_memory()
    read, close = reader(experiment, side)
    taken = jax.jit(gather)
    there = jax.block_until_ready(taken(read(0)))
    seconds, call = [], []
    for step in range(WARM_UP + count):
        start = time.perf_counter()
        jax.block_until_ready(taken(read(step)))
        middle = time.perf_counter()
        jax.block_until_ready(taken(there))
        seconds.append(middle - start)
        call.append(time.perf_counter() - middle)
    print(json.dumps({"seconds": seconds[WARM_UP:], "call": call[WARM_UP:]}))
    close()


def reader(experiment: Experiment, side: str) -> tuple[Callable[[int], Any], Callable[[], None]]:
    """Return what gives the input of a step, and what is to be called at the end."""
    if side in OURS:
        batches = Batches(experiment.data.open("train"), experiment.batch_size, experiment.seed, OURS[side])
        return batches.input_at, batches.close
    assert isinstance(experiment.data, Images)
    source, spec = experiment.data.source("train"), experiment.data.spec()

    def read(step: int) -> dict[str, np.ndarray]:
        """Decode the examples of a step and stack them."""
        indices = indices_at(experiment.seed, step, experiment.batch_size, len(source))
        examples = source.__getitems__(indices.tolist())
        return {name: np.stack([example[name] for example in examples]) for name in spec}

    return read, lambda: None


def measured(side: str, experiment: str, arrays: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Read batches in a process of their own; return the seconds of each."""
    words = ["--batches", str(arguments.batches)]
    if side in TORCH:
        size = str(load(experiment).batch_size)
        script = [arguments.peer, str(PEERS / "loader.py"), arrays, "--batch_size", size, "--workers", str(TORCH[side])]
        words = [*script, *words]
    else:
        words = [sys.executable, "-m", "benchmarks.input", experiment, "--side", side, *words]
    environment = {**os.environ, VARIABLE: str(side != "untuned")}
    done = subprocess.run(words, check=True, env=environment, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def cost(found: dict[str, Any]) -> float:
    """Return the median seconds of a batch, without those of the call of the step it is read for; above zero."""
    seconds = statistics.median(found["seconds"]) - statistics.median(found.get("call", [0.0]))
    return max(seconds, LEAST)


def show(rows: dict[str, dict[str, float]]) -> None:
    """Print a row a side."""
    print(f"{'':>8} {'batches/s':>10} {'µs, min':>10} {'median':>9} {'of a 5 ms step':>15} {'x ram':>9}")
    for side, row in rows.items():
        cells = f"{1e6 * row['min']:>10.1f} {1e6 * row['median']:>9.1f} {row['median'] / STEP:>15.2%}"
        print(f"{side:>8} {1 / row['median']:>10.0f} {cells} " + (f"{row['ratio']:>9.1f}" if "ratio" in row else ""))


def main() -> None:
    """Measure in turn, print a row each and write both files."""
    parser = parser_of(__doc__, "input")
    add_peer(parser, "torch")
    parser.add_argument("experiment", nargs="?", default="digits_cnn")
    parser.add_argument("--batches", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--side", choices=SIDES, help="measure this one alone, in this process")
    arguments = parser.parse_args()
    experiment = load(arguments.experiment)
    if arguments.side is not None:
        return alone(experiment, arguments.side, arguments.batches)
    sides = [side for side in arguments.sides if side not in TORCH or arguments.peer]
    if sides != arguments.sides:
        without_peer("torch's DataLoader")
    if not isinstance(experiment.data, Images):
        sides = [side for side in sides if side != "tfds"]
    on = machine()
    print(heading(on))
    rounds: dict[str, list[dict[str, Any]]] = {side: [] for side in sides}
    with tempfile.TemporaryDirectory() as folder:
        arrays = f"{folder}/arrays.npz"
        np.savez(arrays, **experiment.data.open("train").arrays())
        for _, side in in_turn(sides, arguments.rounds):
            rounds[side].append(measured(side, arguments.experiment, arrays, arguments))
    costs = {side: [[cost(found)] for found in each] for side, each in rounds.items()}
    rows = compare(costs, reference="ram")
    show(rows)
    versions = {found["torch"] for each in rounds.values() for found in each if "torch" in found}
    if versions:
        print(f"torch {', '.join(versions)}")
    bars = {side: [1e6 * seconds for (seconds,) in each] for side, each in costs.items()}
    panel = Bars(f"{arguments.experiment}, batches of {experiment.batch_size}", "µs a batch", bars, tuple(OURS), True)
    content = {"machine": on, "experiment": arguments.experiment, "table": rows, "rounds": rounds}
    write(arguments.output, "input", content, [panel])
    say_where(arguments.output, "input")


if __name__ == "__main__":
    main()
