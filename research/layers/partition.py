"""How the parameters of a model are divided among devices: a few rules of the model, and the shapes of the rest."""

import math
import re
from collections.abc import Mapping

from jax.sharding import PartitionSpec

Axes = str | tuple[str, ...] | None
Rules = tuple[tuple[str, tuple[Axes, ...]], ...]
"""Pairs of a pattern, found anywhere in the dotted path of a parameter, and the mesh axes of its last dimensions."""

ALTERNATELY: Rules = (
    (r"\bdense_\d*[02468]\.kernel$", (None, ("tensor", "fsdp"))),
    (r"\bdense_\d*[13579]\.kernel$", (("tensor", "fsdp"), None)),
)
"""Of dense layers in a row: outputs of one, then inputs of the next, so that two need one sum over the devices."""

LEAST_ELEMENTS = 2**12
"""Smaller arrays are not divided over fsdp: gathering them would cost more than keeping them."""


def partition_spec(rules: Rules, path: str, shape: tuple[int, ...], sizes: Mapping[str, int]) -> PartitionSpec:
    """Return the mesh axes over which the array at `path` is divided; `sizes` are those of the axes, 1 if missing.

    The first rule whose pattern is found in the path names the axes of the last dimensions, so that layers stacked
    along a leading axis need no rules of their own; a tuple divides one dimension over several axes, the first of them
    outermost. An axis that does not divide its dimension is left out, as is one of size 1. Of arrays with at least
    `LEAST_ELEMENTS` whose rule does not name the axis "fsdp", the largest dimension that is whole, and that it divides,
    is divided over it: the first of several that are equal.
    """
    named = next((axes for pattern, axes in rules if re.search(pattern, path)), ())
    taken: set[str] = set()
    axes: list[tuple[str, ...]] = [()] * len(shape)
    for dimension, wanted in enumerate(named, len(shape) - len(named)):
        for axis in (wanted,) if isinstance(wanted, str) else wanted or ():
            if dimension >= 0 and axis not in taken and _divides((*axes[dimension], axis), shape[dimension], sizes):
                axes[dimension] += (axis,)
            taken.add(axis)
    free = [i for i, size in enumerate(shape) if not axes[i] and _divides(("fsdp",), size, sizes)]
    if free and "fsdp" not in taken and math.prod(shape) >= LEAST_ELEMENTS:
        axes[max(free, key=lambda i: shape[i])] = ("fsdp",)
    while axes and not axes[-1]:  # so that what is not divided at all equals PartitionSpec()
        axes.pop()
    return PartitionSpec(*(several if len(several) > 1 else next(iter(several), None) for several in axes))


def _divides(axes: tuple[str, ...], dimension: int, sizes: Mapping[str, int]) -> bool:
    """Whether the last of the axes has several devices, and those of all together divide the dimension."""
    devices = [sizes.get(axis, 1) for axis in axes]
    return devices[-1] > 1 and dimension % math.prod(devices) == 0
