"""Examples that occur more than once: one in two splits makes a test result look better than it is."""

import hashlib
import itertools
from collections.abc import Iterable, Mapping


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
