"""How numbers are written: as many digits as their intervals bear out, and the same number of decimals in a column."""

import dataclasses
import math
import statistics
from collections.abc import Iterable

ABSENT = "–"
MINUS = "−"
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclasses.dataclass(frozen=True)
class Scale:
    """The numbers of a column are written as value / 10^power, with `decimals` decimals."""

    decimals: int
    power: int = 0

    @property
    def unit(self) -> str:
        """What a heading says of the power of ten, as ``×10⁻⁶``; nothing for 1."""
        return f"×10{str(self.power).translate(SUPERSCRIPT)}" if self.power else ""

    def text(self, value: float, signed: bool = False) -> str:
        """Return a number with a proper minus sign; zero has no sign, and what is not there is a dash."""
        if not math.isfinite(value):
            return ABSENT
        text = f"{value / 10.0**self.power:{'+' if signed else ''},.{self.decimals}f}"
        return (text if text.strip("+-0.,") else text.lstrip("+-")).replace("-", MINUS)


def scale(values: Iterable[float], widths: Iterable[float]) -> Scale:
    """Return how to write `values` whose intervals reach `widths` to either side.

    The typical width has two digits, and the least one has one where that takes no more than two decimals more;
    without any width the greatest value has four digits. A power of ten is split off where there would be more than
    six decimals, or more than six digits before the point.
    """
    sizes = sorted(abs(value) for value in values if math.isfinite(value) and value)
    spreads = sorted(width for width in widths if math.isfinite(width) and width > 0)
    largest = _exponent(sizes[-1]) if sizes else 0
    if spreads:
        typical = 1 - _exponent(statistics.median(spreads))
        decimals = max(typical, min(-_exponent(spreads[0]), typical + 2))
    else:
        decimals = 3 - largest
    power = largest if (decimals > 6 and largest < -2) or largest > 5 else 0
    return Scale(min(max(decimals + power, 0), 9), power)


def p_text(p: float, alpha: float) -> str:
    """Return a p-value as 0.012 or <0.001; with more decimals where three would put it on the other side of `alpha`."""
    if math.isnan(p):
        return ABSENT
    if p < 0.001:
        return "<0.001"
    texts = (f"{p:.{decimals}f}" for decimals in range(3, 18))
    return next((text for text in texts if (float(text) < alpha) == (p < alpha)), repr(p))


def decimals_text(value: float, decimals: int = 2) -> str:
    """Return a number with that many decimals."""
    return Scale(decimals).text(value)


def plural(count: int, noun: str) -> str:
    """Return ``1 cell`` or ``3 cells``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _exponent(value: float) -> int:
    """Return the power of ten of the first digit."""
    return math.floor(math.log10(value))
