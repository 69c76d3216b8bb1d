"""Which examples a split holds where nobody published splits: disjoint, covering, the same on every machine."""

from collections.abc import Mapping
from typing import Literal, TypeVar

import numpy as np

Split = Literal["train", "validation", "test"]
Name = TypeVar("Name", bound=str)

SHARES: dict[Split, float] = {"train": 0.7, "validation": 0.1, "test": 0.2}


def contiguous(size: int) -> dict[Split, range]:
    """Return the rows of each split of a series of `size` points, in order of time."""
    cuts = [0, *np.round(np.cumsum(list(SHARES.values())) * size).astype(int).tolist()]
    return {name: range(*cuts[i : i + 2]) for i, name in enumerate(SHARES)}


def stratified(labels: np.ndarray, shares: Mapping[Name, float], seed: int = 0) -> dict[Name, np.ndarray]:
    """Return disjoint indices of the splits that `shares` names, which together cover `labels` [n].

    Each class is shuffled by a fixed seed and cut on its own, so that every split has the same share of every class to
    within one example.
    """
    generator = np.random.default_rng(seed)
    splits: dict[Name, list[np.ndarray]] = {name: [] for name in shares}
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        cuts = np.round(np.cumsum(list(shares.values()))[:-1] * len(members)).astype(int)
        for name, piece in zip(shares, np.split(members, cuts), strict=True):
            splits[name].append(piece)
    return {name: np.sort(np.concatenate(pieces)) for name, pieces in splits.items()}
