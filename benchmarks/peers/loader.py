"""Batches of arrays in memory through torch's `DataLoader`, shuffled: see `benchmarks.input`.

    python benchmarks/peers/loader.py ARRAYS.npz --batch_size 128 [--batches 500] [--workers 0]

Prints a line of JSON: the seconds of each batch, after a few that are not counted, and the version of torch.
"""

import argparse
import json
import time
from collections.abc import Iterator

import numpy as np
import torch
from torch.utils.data import DataLoader, TensorDataset

WARM_UP = 10


def batches(loader: DataLoader) -> Iterator[list[torch.Tensor]]:
    """Return the batches of one epoch after the other."""
    while True:
        yield from loader


def main() -> None:
    """Read batches and time each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arrays")
    parser.add_argument("--batch_size", type=int, required=True)
    parser.add_argument("--batches", type=int, default=500)
    parser.add_argument("--workers", type=int, default=0)
    arguments = parser.parse_args()
    arrays = TensorDataset(*(torch.from_numpy(array) for array in np.load(arguments.arrays).values()))
    # Workers that live on from one epoch to the next: starting them takes longer than an epoch of a small split.
    loader = DataLoader(
        arrays,
        arguments.batch_size,
        shuffle=True,
        num_workers=arguments.workers,
        persistent_workers=arguments.workers > 0,
    )
    taken, seconds = batches(loader), []
    for _ in range(WARM_UP + arguments.batches):
        start = time.perf_counter()
        next(taken)
        seconds.append(time.perf_counter() - start)
    print(json.dumps({"seconds": seconds[WARM_UP:], "torch": torch.__version__}))


if __name__ == "__main__":
    main()
