"""What a checkpoint costs: until `save` gives the step its memory back, until it is on disk, and to restore it.

    python -m benchmarks.checkpoint [--rounds 7] [--output FOLDER]

Wall and processor time of the state of a small CNN and of a ResNet-18 with Adam, each with the digests of its leaves.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import jax

from benchmarks.machine import heading, machine
from benchmarks.train_step import EXPERIMENTS
from experiments.digits_cnn import experiment as digits
from research.devices import place
from research.experiment import Experiment, split
from research.training.checkpoint import Checkpoints
from research.training.state import abstract_state
from research.training.step import init_state

COLUMNS = ("save", "on disk", "processor", "restore")


def measured(experiment: Experiment, rounds: int) -> dict[str, Any]:
    """Return the bytes of a state, and the seconds of each round by column."""
    program, hyperparameters = split(experiment)
    state = jax.block_until_ready(place(init_state, program, gives="state", once=True)(hyperparameters))
    rows = []
    with tempfile.TemporaryDirectory() as folder, Checkpoints(Path(folder)) as checkpoints:
        for index in range(rounds + 1):
            start, before = time.perf_counter(), time.process_time()
            checkpoints.save("latest", state._replace(step=state.step + index))
            saved = time.perf_counter()
            checkpoints.wait()
            done, after = time.perf_counter(), time.process_time()
            assert checkpoints.restore("latest", abstract_state(experiment)) is not None
            rows.append((saved - start, done - start, after - before, time.perf_counter() - done))
    seconds = dict(zip(COLUMNS, zip(*rows[1:], strict=True), strict=True))  # the first opens files and imports
    return {"bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(state)), "seconds": seconds}


def main() -> None:
    """Measure, print a row each and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"), help="folder of checkpoint.json")
    arguments = parser.parse_args()
    found, rows = machine(), {}
    print(heading(found))
    print(f"{'':>12} {'MiB':>7}" + "".join(f"{name + ' ms min':>18} {'median':>8}" for name in COLUMNS))
    for name, experiment in (("digits_cnn", digits), ("resnet18", EXPERIMENTS["resnet18"])):
        rows[name] = measured(experiment, arguments.rounds)
        several = rows[name]["seconds"].values()
        cells = "".join(f"{1e3 * min(each):>18.1f} {1e3 * statistics.median(each):>8.1f}" for each in several)
        print(f"{name:>12} {rows[name]['bytes'] / 2**20:>7.1f}{cells}", flush=True)
    arguments.output.mkdir(parents=True, exist_ok=True)
    (arguments.output / "checkpoint.json").write_text(json.dumps({"machine": found, "rows": rows}, indent=2) + "\n")
    print(arguments.output / "checkpoint.json")


if __name__ == "__main__":
    main()
