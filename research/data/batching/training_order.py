"""What each training step takes of a split: which examples, and how many steps of them."""

import dataclasses
import functools

import jax
import numpy as np

from research.data.batching.order import epoch_order, taken
from research.data.orders import Bucketed, Uniform
from research.data.source import Batch, Data
from research.data.storage.records import Records


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Cut:
    """To how many steps entries of a raw batch are cut, by name: a part of the program that it is given to."""

    steps: tuple[tuple[str, int], ...] = ()

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch, [b, l, ...] entries among it, with no more steps of those that are named."""
        return {**batch, **{name: batch[name][:, :steps] for name, steps in self.steps}}


class TrainingOrder:
    """The examples of every training step, and what their batch is cut to.

    Where the data are ordered by length, the lengths of a split are read once, here.
    """

    def __init__(self, data: Data, records: Records, batch_size: int, seed: int) -> None:
        self._order, self._batch_size = data.order, batch_size
        self._full = {} if isinstance(data.order, Uniform) else full_steps(data)
        self._lengths = _lengths(data, records)
        # A batch is of two epochs where one ends.
        drawn = functools.partial(epoch_order, data.order, seed, batch_size=batch_size, lengths=self._lengths)
        self._epoch = functools.lru_cache(maxsize=2)(drawn)

    def __len__(self) -> int:
        """Return how many examples there are."""
        return len(self._lengths)

    def indices_at(self, step: int) -> np.ndarray:
        """Return the examples of the global batch of a step, int32 [batch_size]."""
        return taken(self._epoch, step, self._batch_size, len(self._lengths))

    def cut_of(self, indices: np.ndarray) -> Cut:
        """Return what the global batch of these examples is cut to."""
        if not isinstance(self._order, Bucketed):
            return Cut()
        steps = self._order.steps(int(self._lengths[indices].max()), max(self._full.values()))
        return Cut(tuple((name, min(steps, full)) for name, full in self._full.items()))


def full_steps(data: Data) -> dict[str, int]:
    """Return how many steps the entries of a raw example have that have lengths, by name; reads nothing."""
    spec = data.spec()
    return {entry: spec[entry].shape[0] for counted in data.lengths().values() for entry in counted}


def _lengths(data: Data, records: Records) -> np.ndarray:
    """Return the length of each example, int32 [n], by the longest of its entries; zeros where no order goes by it."""
    if isinstance(data.order, Uniform):
        return np.zeros(len(records), np.int32)
    return np.max(list(records.columns(tuple(data.lengths())).values()), axis=0)
