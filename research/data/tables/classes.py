"""Which columns of a table are classes, and how many: what a user need not say."""

import numpy as np

from research.data import files
from research.errors import UsageError

FEW = 20
"""Different whole numbers that are taken for classes, at most."""
MOST = 100
"""Different words that classes are made of, at most."""


def are_classes(path: str, name: str) -> bool:
    """Return whether a column or array holds words alone, or a few whole numbers of which none is missing.

    Raises:
        UsageError: the file cannot be read, or has nothing of that name.
    """
    if not files.are_numbers(path, name):
        return files.is_text(path, name)
    numbers = files.exact(path, name)
    different = np.unique(numbers)
    return numbers.ndim == 1 and 1 < len(different) <= FEW and bool((different == np.round(different)).all())


def classes(path: str, name: str) -> tuple[tuple[str, ...], int]:
    """Return the words that stand for classes, none where whole numbers from 0 do, and the number of classes.

    Words are in alphabetical order, numbers ascend.

    Raises:
        UsageError: as `are_classes`; a cell is empty, or the words are too many to be classes.
    """
    if files.are_numbers(path, name):
        different = np.unique(files.exact(path, name))
        if not files.has_words(path) or np.array_equal(different, np.arange(len(different))):
            return (), int(np.fmax.reduce(different, initial=0)) + 1
    cells = files.words(path, name)
    if "" in cells:
        raise UsageError(
            f"{files.place(path, cells.index(''))}: the target is missing; fill it in, or leave the row out"
        )
    words = sorted(set(cells))
    if len(words) > MOST:
        raise UsageError(
            f'{path}: the column "{name}" holds {len(words)} different cells, and classes are {MOST} at most: choose '
            "another data.target, or data.kind regression"
        )
    return tuple(sorted(words, key=float) if all(map(files.is_number, words)) else words), len(words)
