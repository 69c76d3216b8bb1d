"""Examples that occur more than once: one in two splits makes a test result look better than it is."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from research.data.splits import Split


def count_duplicates(splits: Mapping[str, Iterable[bytes]]) -> dict[str, dict[str, int]]:
    """Count exact copies within and across splits, given the content of their examples.

    "within" has, for each split, the examples that repeat an earlier one of the same split. "across" has, for each
    pair such as "train/test", the examples of the second split that also occur in the first.
    """
    digests = {name: [hashlib.sha256(content).digest() for content in contents] for name, contents in splits.items()}
    known = {name: set(values) for name, values in digests.items()}
    return {
        "within": {name: len(values) - len(known[name]) for name, values in digests.items()},
        "across": {
            f"{first}/{second}": sum(digest in known[first] for digest in digests[second])
            for first, second in itertools.combinations(splits, 2)
        },
    }


def met_in_training(arrays: Sequence[np.ndarray], rows: Mapping[Split, np.ndarray]) -> dict[Split, int]:
    """Return how many examples of each split but "train" also stand in that one.

    Args:
        arrays: what all examples hold, each [n, ...].
        rows: the examples of each split, as rows of these.
    """

    def contents(split: Split) -> Iterator[int]:
        """Yield a number for what is in each example, the same for equal ones."""
        return (hash(tuple(array[row].tobytes() for array in arrays)) for row in rows[split])

    known = set(contents("train"))
    return {split: sum(each in known for each in contents(split)) for split in rows if split != "train"}
