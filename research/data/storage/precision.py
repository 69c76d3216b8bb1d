"""Numbers of a file in float32 where that holds them, else in float64 as they were read.

A column such as seconds since 1970 lies far from zero for its spread: float32, which has seven digits, would make many
of its numbers one.
"""

import dataclasses

import numpy as np

LOST = 2.0**-20
"""What rounding may change of a column's numbers, as a share of the stretch in which they lie."""

_NUMBERS = 2**18  # looked at at a time


@dataclasses.dataclass
class Rounding:
    """What float32 would change of columns of numbers: the most of one number, and the stretch in which they lie."""

    lost: float | np.ndarray = 0.0
    low: float | np.ndarray = np.inf
    high: float | np.ndarray = -np.inf

    def add(self, numbers: np.ndarray) -> None:
        """Look at the next rows of numbers, float64 [n] or [n, columns], NaN where one is missing."""
        if len(numbers):
            self.lost = np.fmax(self.lost, np.fmax.reduce(np.abs(numbers - numbers.astype(np.float32)), axis=0))
            self.low = np.fmin(self.low, np.fmin.reduce(numbers, axis=0))
            self.high = np.fmax(self.high, np.fmax.reduce(numbers, axis=0))

    def matters(self) -> bool:
        """Return whether float32 would make one number of several; where all are one, there are none to tell apart."""
        return bool(np.any((np.asarray(self.high) > self.low) & (self.lost > LOST * np.subtract(self.high, self.low))))


def narrowed(numbers: np.ndarray) -> np.ndarray:
    """Return an array of columns along its last axis, or one column [n], as float32 where that holds each of them."""
    if not np.can_cast(numbers.dtype, np.float32):
        columns, rounding = numbers.reshape(-1, 1 if numbers.ndim == 1 else numbers.shape[-1]), Rounding()
        step = max(1, _NUMBERS // max(1, columns.shape[1]))
        for start in range(0, len(columns), step):
            rounding.add(columns[start : start + step].astype(np.float64, copy=False))
        if rounding.matters():
            return numbers.astype(np.float64, copy=False)
    return numbers.astype(np.float32, copy=False)
