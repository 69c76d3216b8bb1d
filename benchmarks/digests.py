"""What the digests of a checkpoint cost: their share of a save, from its call until it is on disk.

    python -m benchmarks.digests [--rounds 5] [--mebibytes 200 1024]

Of a state of normally distributed numbers, in each round the digests alone, by each algorithm, then the whole save.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.machine import heading, machine
from research.training.storage.checkpoints.checkpoint import Checkpoints
from research.training.storage.checkpoints.manifest import ALGORITHM, digests
from research.training.update.state import TrainState

ALGORITHMS = (ALGORITHM, "blake2b")
LEAVES = 8


def digested(mebibytes: int, rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each round: of a save of so many numbers, and of their digests by algorithm."""
    generator = np.random.default_rng(0)
    shape = (mebibytes, 2**20 // 4 // LEAVES)
    params = {str(index): generator.standard_normal(shape, np.float32) for index in range(LEAVES)}
    state = TrainState(np.int32(0), params, {}, ())
    seconds: dict[str, list[float]] = {name: [] for name in (*ALGORITHMS, "save")}
    for _ in range(rounds):
        for algorithm in ALGORITHMS:
            start = time.perf_counter()
            digests(state, algorithm)
            seconds[algorithm].append(time.perf_counter() - start)
        with tempfile.TemporaryDirectory() as folder, Checkpoints(Path(folder)) as checkpoints:
            start = time.perf_counter()
            checkpoints.save("latest", state)
            checkpoints.wait()
            seconds["save"].append(time.perf_counter() - start)
    return seconds


def main() -> None:
    """Measure and print a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--mebibytes", type=int, nargs="+", default=[200, 1024])
    arguments = parser.parse_args()
    print(heading(machine()))
    for mebibytes in arguments.mebibytes:
        median = {name: statistics.median(each) for name, each in digested(mebibytes, arguments.rounds).items()}
        shares = (f"{name} {1e3 * median[name]:.0f} ms, {median[name] / median['save']:.1%}" for name in ALGORITHMS)
        print(f"{mebibytes:>8} MiB: save {1e3 * median['save']:.0f} ms; digests {'; '.join(shares)}", flush=True)


if __name__ == "__main__":
    main()
