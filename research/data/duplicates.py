"""Images that occur more than once: an image in two splits makes a test result look better than it is."""

import hashlib
import itertools
from collections.abc import Mapping

import numpy as np


def count_duplicates(splits: Mapping[str, np.ndarray]) -> dict[str, dict[str, int]]:
    """Count exact copies within and across splits of images [n, ...].

    "within" has, for each split, the examples that repeat an earlier one of the same split. "across" has, for each
    pair such as "train/test", the examples of the second split that also occur in the first.
    """
    digests = {name: [hashlib.sha256(image.tobytes()).digest() for image in images] for name, images in splits.items()}
    known = {name: set(values) for name, values in digests.items()}
    return {
        "within": {name: len(values) - len(known[name]) for name, values in digests.items()},
        "across": {
            f"{first}/{second}": sum(digest in known[first] for digest in digests[second])
            for first, second in itertools.combinations(splits, 2)
        },
    }
