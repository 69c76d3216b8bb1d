"""The order of training examples: a pure function of seed, step and, where it goes by them, the examples' lengths."""

from collections.abc import Callable

import numpy as np

from research.data.orders import Bucketed, Order, Uniform


def indices_at(seed: int, step: int, batch_size: int, size: int) -> np.ndarray:
    """Return which of `size` examples in uniform order make up the global batch of a training step: int32 [batch_size].

    Every epoch is a fresh permutation of all examples. Batches run on from one epoch into the next, so each example is
    used exactly once per epoch, and a batch may be larger than the split.
    """
    return taken(lambda epoch: _permutation(seed, epoch, size), step, batch_size, size)


def taken(order_of: Callable[[int], np.ndarray], step: int, batch_size: int, size: int) -> np.ndarray:
    """Return the examples of a step where epochs of `size` examples, each in its own order, follow each other."""
    first = step * batch_size
    last = first + batch_size
    epochs = range(first // size, (last - 1) // size + 1)
    return np.concatenate([order_of(epoch)[max(first - epoch * size, 0) : last - epoch * size] for epoch in epochs])


def epoch_order(order: Order, seed: int, epoch: int, batch_size: int, lengths: np.ndarray) -> np.ndarray:
    """Return the order of one epoch of the examples that `lengths` [n] are of: int32 [n]."""
    drawn = _permutation(seed, epoch, len(lengths))
    return drawn if isinstance(order, Uniform) else _bucketed(order, drawn, seed, epoch, batch_size, lengths)


def _bucketed(
    order: Bucketed, drawn: np.ndarray, seed: int, epoch: int, batch_size: int, lengths: np.ndarray
) -> np.ndarray:
    """Return the order in which an epoch was drawn with its whole batches sorted by bucket, and these shuffled."""
    head = min(-epoch * len(drawn) % batch_size, len(drawn))  # completes the batch that the epoch before began
    count = (len(drawn) - head) // batch_size
    stop = head + count * batch_size
    buckets = np.searchsorted(order.boundaries, lengths[drawn[head:stop]])
    batches = drawn[head:stop][np.argsort(buckets, kind="stable")].reshape(count, batch_size)
    shuffled = np.random.default_rng((seed, epoch, 1)).permutation(batches)  # of rows
    return np.concatenate([drawn[:head], shuffled.ravel(), drawn[stop:]])


def _permutation(seed: int, epoch: int, size: int) -> np.ndarray:
    """Return the order of one epoch."""
    return np.random.default_rng((seed, epoch)).permutation(size).astype(np.int32)
