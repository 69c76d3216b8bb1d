"""Reading ahead: batches by step through Grain, for a split that fits neither memory."""

import sys
from collections.abc import Callable
from typing import Any

from research.data.storage.records import Arrays

# Grain orders and recovers; one thread decodes ahead of the step. More were no faster in measurements, because
# decoding a record holds the interpreter lock. Four batches bridge a checkpoint without holding much memory.
_THREADS = 1
_AHEAD = 4


class Stream:
    """`batch_at`, read ahead: steps asked for in order come from a running iterator, any other step is a jump."""

    def __init__(self, batch_at: Callable[[int], Arrays]) -> None:
        self._batch_at = batch_at
        self._iterator: Any = None
        self._next = 0

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, step: int) -> Arrays:
        return self._batch_at(step)

    def at(self, step: int) -> Arrays:
        """Return the batch of a step."""
        import grain

        if self._iterator is None:
            options = grain.ReadOptions(num_threads=_THREADS, prefetch_buffer_size=_AHEAD)
            # The source's item is a whole batch: per-example overhead is 40 us, a hundred times that of a numpy gather.
            self._iterator = iter(grain.MapDataset.source(self).to_iter_dataset(options))
            self._next = 0
        if step != self._next:
            grain.experimental.set_next_index(self._iterator, step)
        self._next = step + 1
        return next(self._iterator)

    def close(self) -> None:
        """Stop reading ahead; a later `at` starts again."""
        if self._iterator is not None:
            self._iterator.close()
            self._iterator = None
