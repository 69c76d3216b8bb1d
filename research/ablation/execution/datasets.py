"""The datasets of a sweep, opened once and shared by its runs."""

import numpy as np

from research.data import Batches, Data, Records
from research.data.batching.batches import RAM_BYTES
from research.experiment import Experiment, RunOptions
from research.training.loop import open_splits
from research.training.run import Splits

_ROWS = 4096  # compared at a time: windows of a text are larger than what they are views of


class SharedSplits:
    """Splits by data value; values that give the very same examples, such as two of augmentation, share them.

    What does not fit in memory together is opened anew for each run.
    """

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        self._opened: dict[Data, Splits] = {}

    def of(self, experiment: Experiment) -> Splits:
        """Return the splits of an experiment. Raises `UsageError` where they cannot be opened."""
        data = experiment.data
        if data not in self._opened:
            splits = open_splits(experiment, self._options)
            for known in self._opened.values():
                if all(same(known[name], splits[name]) for name in splits):
                    splits = known
            distinct = {id(records): records for opened in self._opened.values() for records in opened.values()}
            if sum(records.nbytes for records in (*distinct.values(), *splits.values())) > RAM_BYTES:
                self._opened.clear()
            self._opened[data] = splits
        return self._opened[data]


def same(one: Records, other: Records) -> bool:
    """Return whether two splits hold equal examples; those too large to read for this count as different."""
    if len(one) != len(other) or one.spec != other.spec or one.nbytes > RAM_BYTES:
        return False
    ours, theirs = one.arrays(), other.arrays()
    stretches = [slice(start, start + _ROWS) for start in range(0, len(one), _ROWS)]
    return all(np.array_equal(ours[name][some], theirs[name][some]) for name in ours for some in stretches)


def in_memory(experiment: Experiment, splits: Splits, options: RunOptions) -> bool:
    """Return whether training examples are kept in memory, where many runs can read them at once."""
    return Batches(splits["train"], experiment.batch_size, 0, options.residency).residency != "stream"
