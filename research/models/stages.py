"""Tables of stages, as tuples of equal length, and multipliers of width and depth, in percent.

Multipliers are whole numbers of percent because they decide shapes, so that rounding is exact.
"""

from research.errors import UsageError


def rows(**columns: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Return the entries of each stage (or block), in the order of the columns.

    Raises:
        UsageError: the columns differ in length.
    """
    if len({len(column) for column in columns.values()}) > 1:
        lengths = ", ".join(f"{name} has {len(column)}" for name, column in columns.items())
        raise UsageError(f"the columns of a table need as many entries each, but {lengths}")
    return list(zip(*columns.values(), strict=True))


def widened(channels: int, percent: int, multiple: int = 8) -> int:
    """Return `percent` of the channels as the nearest multiple of 8, or the next if that takes off more than a tenth.

    Source: the code of Sandler et al. (2018), which every later network of the kind has taken over.
    """
    nearest = max(multiple, (channels * percent + 50 * multiple) // (100 * multiple) * multiple)
    return nearest + multiple if 1000 * nearest < 9 * channels * percent else nearest


def deepened(blocks: int, percent: int) -> int:
    """Return `percent` of the blocks, rounded up (Tan and Le, 2019)."""
    return -(-blocks * percent // 100)
