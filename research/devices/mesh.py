"""The devices of a run as a mesh of three axes."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import Mesh

from research.errors import UsageError
from research.experiment import Placement

AXES = ("data", "fsdp", "tensor")
BATCH = ("data", "fsdp")
"""The axes over which a batch is divided."""


def make_mesh(placement: Placement, devices: Sequence[Any], examples: int | None) -> Mesh:
    """Return a mesh of `devices`, real or described, for steps of so many `examples` at once; None for any number.

    Where `placement.data` is None and not all devices can share the examples, the most that can are taken, if this is
    one process; of several, every device has to take part.

    Raises:
        UsageError: the axes do not divide the devices, or the examples do not divide among them.
    """
    count = len(devices)
    inner = placement.fsdp * placement.tensor
    if placement.method == "pmap" and inner > 1:
        raise UsageError("pmap shares the batch alone: set placement.fsdp and placement.tensor to 1")
    if count % inner:
        raise UsageError(
            f"a mesh of fsdp {placement.fsdp} x tensor {placement.tensor} does not divide {_devices(count)}"
        )
    alone = len({device.process_index for device in devices}) == 1
    data = placement.data
    if data is None:
        most = count // inner
        share, uneven = divmod(examples or 0, placement.fsdp)
        data = math.gcd(most, share) if alone and not uneven else most
    shape = (data, placement.fsdp, placement.tensor)
    used = data * inner
    if count % used:
        raise UsageError(f"a mesh of {_shown(shape)} does not divide {_devices(count)}")
    if used < count and not alone:
        raise UsageError(f"a mesh of {_shown(shape)} leaves out some of {_devices(count)} of several processes")
    if examples is not None and examples % (data * placement.fsdp):
        raise UsageError(
            f"{examples} examples at once do not divide among {_shown(shape)}: set batch_size to a multiple of "
            f"{data * placement.fsdp} for each part of accumulation, or use fewer devices along data and fsdp"
        )
    return Mesh(arranged(shape, list(devices)[:used]), AXES)


def arranged(shape: tuple[int, ...], devices: Sequence[Any]) -> np.ndarray:
    """Return devices in an array of `shape`, those of an inner axis near each other."""
    if devices[0].platform == "cpu":
        return np.array(devices).reshape(shape)
    return mesh_utils.create_device_mesh(shape, devices, allow_split_physical_axes=True)


def _devices(count: int) -> str:
    """Return a number of devices in words."""
    return "1 device" if count == 1 else f"{count} devices"


def _shown(shape: Sequence[int]) -> str:
    """Return the sizes of the axes in words."""
    return " x ".join(f"{name} {size}" for name, size in zip(AXES, shape, strict=True))
