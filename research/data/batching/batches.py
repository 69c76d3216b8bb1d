"""A batch is a function of the step; where the split is kept changes the speed, never the numbers."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from research.data.batching.stream import Stream
from research.data.batching.training_order import Cut, TrainingOrder
from research.data.source import Data
from research.data.storage.records import Place, Records
from research.errors import UsageError

Residency = Literal["auto", "ram", "device", "stream"]

# CIFAR-10 (154 MB) fits the device limit, which is under 2 % of a 16 GB accelerator: memory the model will not miss.
DEVICE_BYTES = 256 * 2**20
# A notebook host has about 12 GB; decoding up to this much takes minutes once, where streaming pays it every epoch.
RAM_BYTES = 2 * 2**30


class IndexedBatch(NamedTuple):
    """A batch not yet gathered: a whole split on the device, the rows to take, int32 [b], and what they are cut to."""

    arrays: dict[str, jax.Array]
    indices: jax.Array | np.ndarray
    cut: Cut = Cut()


def gather(batch: Any) -> dict[str, Any]:
    """Return the batch that `IndexedBatch` stand for, inside the compiled step; a dict passes through unchanged."""
    if not isinstance(batch, IndexedBatch):
        return batch
    taken = {name: array.at[batch.indices].get(mode="promise_in_bounds") for name, array in batch.arrays.items()}
    return batch.cut(taken)


class Batches:
    """Training batches of one process, as a function of the step.

    Args:
        records: the training split.
        batch_size: examples in the global batch of all processes.
        seed: decides the order of examples.
        residency: where the split is kept. "ram" decodes it once; "device" also moves it to the device once, so that
            only row numbers travel; "stream" decodes again every epoch; "auto" is the first of device, ram, stream
            that the split is small enough for.
        rows: which rows of the global batch this process holds. Row r is row r on any number of processes, and so has
            the same dropout.
        place: puts an array where "device" is, for instance replicated over a mesh; pass the same function to share
            the split between several `Batches` of the same records.
        data: whose records they are; by default some in uniform order.

    Raises:
        UsageError: the split is empty.
    """

    def __init__(
        self,
        records: Records,
        batch_size: int,
        seed: int,
        residency: Residency = "auto",
        rows: slice | np.ndarray = slice(None),
        place: Place = jax.device_put,
        data: Data = Data(),
    ) -> None:
        if not len(records):
            raise UsageError("there are no examples to make batches of")
        self.residency = _residency(records) if residency == "auto" else residency
        self._records = records
        self._order = TrainingOrder(data, records, batch_size, seed)
        self._rows = rows
        self._place = place
        self._stream = Stream(self._read)

    def batch_at(self, step: int) -> dict[str, Any]:
        """Return this process's rows of the global batch of `step`, cut as a whole: every entry is [rows, ...]."""
        return gather(self.input_at(step))

    def input_at(self, step: int) -> dict[str, np.ndarray] | IndexedBatch:
        """Return what to hand to the compiled step, which calls `gather` on it: indices, or a dict of host arrays."""
        if self.residency == "device":
            # The numbers stay on the host: a compiled call moves them in less time than `device_put` takes alone.
            indices = self._order.indices_at(step)
            return IndexedBatch(self._records.placed(self._place), indices[self._rows], self._order.cut_of(indices))
        if self.residency == "ram":
            self._records.arrays()
            return self._read(step)
        return self._stream.at(step)

    def batches_at(self, step: int, count: int) -> dict[str, np.ndarray] | IndexedBatch:
        """Return what `input_at` does for `count` steps from `step` on, stacked along a first axis; one is not."""
        batches = [self.input_at(step + index) for index in range(count)]
        return batches[0] if count == 1 else stacked_batches(batches)

    def close(self) -> None:
        """Stop reading ahead."""
        self._stream.close()

    def _read(self, step: int) -> dict[str, np.ndarray]:
        """Read the rows of this process, from memory where the split is there."""
        indices = self._order.indices_at(step)
        return self._order.cut_of(indices)(self._records[indices[self._rows]])


def stacked_batches(feeds: Sequence[Any]) -> Any:
    """Return several feeds of one kind as one, stacked along a first axis; of `IndexedBatch`, the indices alone are.

    All are cut alike, which no other order than a uniform one promises.
    """
    if isinstance(feeds[0], IndexedBatch):
        assert all(feed.cut == feeds[0].cut for feed in feeds)
        return feeds[0]._replace(indices=np.stack([feed.indices for feed in feeds]))
    return {name: np.stack([feed[name] for feed in feeds]) for name in feeds[0]}


def evaluation_batches(
    records: Records, batch_size: int, rows: slice | np.ndarray = slice(None)
) -> Iterator[dict[str, np.ndarray]]:
    """Yield every example exactly once, in dataset order, in batches of one size; of each, the `rows` of this process.

    "mask" [b] is True for an example and False for the padding that fills the last batch, which repeats example 0, and
    "row" [b] is the number of the example, int32.
    """
    hold(records)  # evaluated again and again: decode once
    for start in range(0, len(records), batch_size):
        indices = np.arange(start, start + batch_size, dtype=np.int32)[rows]
        mask = indices < len(records)
        yield {**records[np.where(mask, indices, 0)], "mask": mask, "row": indices}


def hold(records: Records, residency: Residency = "auto") -> None:
    """Read a split into memory once, unless it is to be streamed: an evaluation holds what is small enough.

    A run does so before its folder is written, so that damage is found first.
    """
    if (_residency(records) if residency == "auto" else residency) != "stream":
        records.arrays()


def _residency(records: Records) -> Literal["device", "ram", "stream"]:
    """Return the fastest place that the split is small enough for."""
    if records.nbytes <= DEVICE_BYTES:
        return "device"
    return "ram" if records.nbytes <= RAM_BYTES else "stream"
