"""What a checkpoint costs: how long the next step waits for it, until it is on disk, and to restore it.

    python -m benchmarks.checkpoint [--rounds 7]

Of the states of a small CNN and of a ResNet-18 with Adam, each with the digests of its leaves, in turn:

stall       until `save` gives the step its memory back: what training waits
on disk     until all is written, which continues beside training
processor   time of all threads for it
restore     until the state is on the device again

GB/s are the bytes of the state over the median seconds; the files are in the system's folder for temporary ones, most
likely in the cache of its file system.
"""

import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import jax

from benchmarks.drawing import Bars
from benchmarks.machine import heading, machine
from benchmarks.tables import compare, in_turn
from benchmarks.train_step import EXPERIMENTS
from benchmarks.writing import parser_of, say_where, write
from experiments.digits_cnn import experiment as digits
from research.devices import compile_for
from research.experiment import Experiment, split
from research.training.storage.checkpoints.checkpoint import Checkpoints
from research.training.update.shapes import abstract_state
from research.training.update.state import TrainState
from research.training.update.step import init_state

SAVED = {"digits_cnn": digits, "resnet18": EXPERIMENTS["resnet18"]}
COLUMNS = ("stall", "on disk", "processor", "restore")


def initial(experiment: Experiment) -> TrainState:
    """Return the state before the first step."""
    program, hyperparameters = split(experiment)
    return jax.block_until_ready(compile_for(init_state, program, out_shardings="state", once=True)(hyperparameters))


def checkpointed(experiment: Experiment, state: TrainState, folder: Path) -> Generator[dict[str, float]]:
    """Save and restore, again and again; return the seconds of each time by column."""
    with Checkpoints(folder) as checkpoints:
        while True:
            start, before = time.perf_counter(), time.process_time()
            state = state._replace(step=state.step + 1)
            checkpoints.save("latest", state)
            saved = time.perf_counter()
            checkpoints.wait()
            done, after = time.perf_counter(), time.process_time()
            assert jax.block_until_ready(checkpoints.restore("latest", abstract_state(experiment))) is not None
            yield dict(
                zip(COLUMNS, (saved - start, done - start, after - before, time.perf_counter() - done), strict=True)
            )


def main() -> None:
    """Measure in turn, print a row each and write both files."""
    parser = parser_of(__doc__, "checkpoint")
    parser.add_argument("--rounds", type=int, default=7)
    arguments = parser.parse_args()
    on = machine()
    print(heading(on))
    seconds: dict[str, dict[str, list[float]]] = {name: {column: [] for column in COLUMNS} for name in SAVED}
    with tempfile.TemporaryDirectory() as folder:
        states = {name: initial(experiment) for name, experiment in SAVED.items()}
        running = {
            name: checkpointed(experiment, states[name], Path(folder, name)) for name, experiment in SAVED.items()
        }
        for each in running.values():
            next(each)  # opens files and imports
        for _, name in in_turn(list(SAVED), arguments.rounds):
            for column, one in next(running[name]).items():
                seconds[name][column].append(one)
        for each in running.values():
            each.close()
    print(f"{'':>12} {'MiB':>7}" + "".join(f"{column + ' ms, min':>18} {'median':>8}" for column in COLUMNS), end="")
    print(f" {'save GB/s':>10} {'restore':>8}")
    rows = {name: row(states[name], each) for name, each in seconds.items()}
    for name, found in rows.items():
        times = (found["table"][column] for column in COLUMNS)
        cells = "".join(f"{1e3 * one['min']:>18.1f} {1e3 * one['median']:>8.1f}" for one in times)
        speeds = " ".join(
            f"{found['speeds'][column]:>{width}.3f}" for column, width in (("on disk", 10), ("restore", 8))
        )
        print(f"{name:>12} {found['bytes'] / 2**20:>7.1f}{cells} {speeds}")
    panels = [
        Bars(
            f"{name}, {found['bytes'] / 2**20:.1f} MiB",
            "ms",
            {column: [1e3 * one for one in each] for column, each in found["seconds"].items()},
            COLUMNS,
        )
        for name, found in rows.items()
    ]
    write(arguments.output, "checkpoint", {"machine": on, "rows": rows}, panels)
    say_where(arguments.output, "checkpoint")


def row(state: TrainState, seconds: dict[str, list[float]]) -> dict[str, Any]:
    """Return the bytes of a state, its seconds by column with least and median, and GB/s written and restored."""
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    found = compare({column: [[one] for one in each] for column, each in seconds.items()})
    speeds = {column: size / found[column]["median"] / 1e9 for column in ("on disk", "restore")}
    return {"bytes": size, "table": found, "speeds": speeds, "seconds": seconds}


if __name__ == "__main__":
    main()
