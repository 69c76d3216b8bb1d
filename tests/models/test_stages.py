import pytest

from research.errors import UsageError
from research.models.stages import deepened, rows, widened


def divisible(value):
    """The rounding of the code published with MobileNet v2, in floating point."""
    rounded = max(8, int(value + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * value else rounded


def test_widths_are_rounded_as_published():
    cases = [(channels, percent) for channels in range(1, 1300, 7) for percent in (25, 35, 50, 75, 100, 110, 140, 310)]
    assert [widened(*case) for case in cases] == [divisible(channels * percent / 100) for channels, percent in cases]


def test_depths_are_rounded_up_exactly():
    assert [deepened(blocks, 110) for blocks in (1, 2, 10, 11)] == [2, 3, 11, 13]
    assert [deepened(blocks, 100) for blocks in (1, 5)] == [1, 5]


def test_columns_of_a_table_are_equally_long():
    assert rows(channels=(3, 5), strides=(1, 2)) == [(3, 1), (5, 2)]
    with pytest.raises(UsageError, match="as many entries each, but channels has 2, strides has 1"):
        rows(channels=(3, 5), strides=(1,))
