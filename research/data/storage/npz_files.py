"""NPZ files of numbers: read once, an array at a time, each kept as float32 where that holds it."""

import collections
from pathlib import Path

import numpy as np

from research.data.storage import precision
from research.errors import UsageError
from research.fields import LARGEST

Column = np.ndarray | str
"""Numbers, NaN where one is missing, float32 where that holds them; or the sentence that says why there are none."""


def read(path: str) -> dict[str, Column]:
    """Return each array by its name. Raises `UsageError` where the file is no whole one of NumPy's."""
    try:
        with Path(path).expanduser().open("rb") as content, np.load(content, allow_pickle=False) as file:
            for name, times in collections.Counter(file.files).items():
                if times > 1:  # NumPy would take the last
                    raise UsageError(f'{path} has {times} arrays of the name "{name}"; write it with numpy.savez')
            return {name: _numbers(path, name, file[name]) for name in file.files}
    except MemoryError as error:
        raise UsageError(f"{path} says that it holds more than there is memory for") from error
    except UsageError:
        raise
    except (AttributeError, TypeError) as error:  # one array, which has neither names nor an end
        raise UsageError(f"{path} holds one array without a name; write it with numpy.savez") from error
    except Exception as error:  # whatever zipfile, tokenize and NumPy raise on garbage
        raise UsageError(f"{path} is not a whole NPZ file of plain numbers; write it with numpy.savez") from error


def place(path: str, row: int) -> str:
    """Return in words where a row of all arrays is."""
    return f"{path}, row {row}"


def _numbers(path: str, name: str, array: np.ndarray) -> Column:
    """Return an array as numbers, without a copy where it is float32."""
    if not isinstance(array, np.ndarray):  # a file in it that does not begin as one of NumPy's
        raise UsageError(f'{path}: "{name}" in it is no array; write it with numpy.savez')
    if array.dtype.kind not in "biuf":
        return f'{path}: the array "{name}" is of type {array.dtype}; it must hold numbers'
    # The least and the greatest, NaN aside, take no second array.
    extremes = (reduce(array, axis=None, initial=0) for reduce in (np.fmin.reduce, np.fmax.reduce))
    if array.dtype.kind == "f" and any(abs(float(extreme)) > LARGEST for extreme in extremes):
        return f'{path}: the array "{name}" has infinite numbers; a missing one is NaN'
    return precision.narrowed(array)
