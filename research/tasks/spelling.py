"""Token ids as a person reads them."""

from typing import Any

import numpy as np

NOTHING = -1
"""Stands in a column of token ids where there is no token, and no id of the vocabulary is free to say so."""


def spell(cell: Any) -> str:
    """Return a cell of a column as text: as it is where the data made text of it, else its ids."""
    if isinstance(cell, str):
        return cell
    ids = np.atleast_1d(cell)
    return " ".join(str(number) for number in ids[ids != NOTHING].tolist())
