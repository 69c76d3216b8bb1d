"""The order of training examples: a pure function of seed and step."""

import functools

import numpy as np


def indices_at(seed: int, step: int, batch_size: int, size: int) -> np.ndarray:
    """Return which of `size` examples make up the global batch of a training step: int32 [batch_size].

    Every epoch is a fresh permutation of all examples. Batches run on from one epoch into the next, so each example is
    used exactly once per epoch, and a batch may be larger than the split.
    """
    first = step * batch_size
    last = first + batch_size
    epochs = range(first // size, (last - 1) // size + 1)
    return np.concatenate(
        [_permutation(seed, epoch, size)[max(first - epoch * size, 0) : last - epoch * size] for epoch in epochs]
    )


# 64 so that the runs of a sweep, which take turns with different seeds, do not permute the split again at every step.
@functools.lru_cache(maxsize=64)
def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    """Return the order of one epoch."""
    return np.random.default_rng((seed, epoch)).permutation(size).astype(np.int32)
