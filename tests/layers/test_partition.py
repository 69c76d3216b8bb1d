"""How arrays are divided: laws over drawn shapes, axes and rules, and a few cases by hand."""

import math

import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from research.layers.partition import LEAST_ELEMENTS, partition_spec

RULES = (
    (r"query\.kernel$", (None, "tensor")),
    (r"output\.kernel$", ("tensor", None)),
    (r"twice", ("tensor", "tensor")),
    (r"named", ("fsdp", None)),
    (r"both", (("tensor", "fsdp"), None)),
    (r"kernel", ("tensor",)),
)
PATHS = ("layer.query.kernel", "layer.output.kernel", "layer.twice", "layer.named", "layer.kernel", "layer.bias", "")


def drawn(count):
    """Return (path, shape, sizes) of every kind."""
    generator = np.random.default_rng(0)
    for _ in range(count):
        shape = tuple(int(size) for size in generator.choice([1, 2, 3, 8, 12, 31, 64, 96], generator.integers(0, 5)))
        sizes = {axis: int(generator.choice([1, 2, 3, 8])) for axis in ("data", "fsdp", "tensor")}
        yield PATHS[generator.integers(len(PATHS))], shape, sizes


def test_laws():
    divided = 0
    for path, shape, sizes in drawn(2000):
        axes = tuple(partition_spec(RULES, path, shape, sizes))
        named = [axis for axis in axes if axis is not None]
        assert len(axes) <= len(shape) and len(set(named)) == len(named)
        assert all(axis is None or sizes[axis] > 1 for axis in axes)
        assert all(axis is None or size % sizes[axis] == 0 for size, axis in zip(shape, axes, strict=False))
        assert "data" not in named
        if math.prod(shape) < LEAST_ELEMENTS and "named" not in path:
            assert "fsdp" not in named
        whole = [size for i, size in enumerate(shape) if i >= len(axes) or axes[i] is None]
        if sizes["fsdp"] > 1 and math.prod(shape) >= LEAST_ELEMENTS and "fsdp" not in named and "named" not in path:
            assert all(size % sizes["fsdp"] for size in whole)  # nothing was left to divide
        divided += len(named)
    assert divided > 500


def test_without_rules_large_arrays_are_divided_over_fsdp_alone():
    for path, shape, sizes in drawn(500):
        axes = partition_spec((), path, shape, sizes)
        dividing = [size for size in shape if size % sizes["fsdp"] == 0]
        if sizes["fsdp"] > 1 and math.prod(shape) >= LEAST_ELEMENTS and dividing:
            assert [axis for axis in axes if axis] == ["fsdp"]
            assert shape[axes.index("fsdp")] == max(dividing)
        else:
            assert axes == P()


def test_axes_of_one_device_divide_nothing():
    for path, shape, _ in drawn(500):
        assert partition_spec(RULES, path, shape, {"data": 8, "fsdp": 1, "tensor": 1}) == P()
        assert partition_spec(RULES, path, shape, {}) == P()


@pytest.mark.parametrize(
    "path, shape, expected",
    [
        ("query.kernel", (64, 64), P("fsdp", "tensor")),
        ("output.kernel", (64, 64), P("tensor", "fsdp")),
        ("query.kernel", (12, 64, 64), P(None, "fsdp", "tensor")),  # twelve layers in one array
        ("query.kernel", (64, 65), P("fsdp")),  # tensor does not divide its dimension
        ("query.kernel", (63, 66), P(None, "tensor")),  # fsdp does not divide what is left
        ("query.kernel", (8, 8), P(None, "tensor")),  # too small for fsdp
        ("query.kernel", (64,), P("tensor")),  # as one factor of an optimizer's state is
        ("output.kernel", (64,), P()),
        ("query.kernel", (), P()),
        ("opt_state.mu.query.kernel", (64, 64), P("fsdp", "tensor")),
        ("table", (64, 64), P("fsdp")),  # the first of equal dimensions
        ("table", (128, 64), P("fsdp")),
        ("table", (63, 65), P()),
        ("table", (64, 64 - 1), P()),  # one element less than enough
        ("twice", (64, 64), P("tensor", "fsdp")),
        ("named", (64, 128), P("fsdp")),
        ("named", (63, 128), P()),  # a rule that names fsdp decides alone
        ("both", (64, 128), P(("tensor", "fsdp"))),
        ("both", (66, 128), P("tensor")),  # 2 divides it, 2 * 4 does not
        ("both", (63, 128), P()),
        ("other.kernel", (64, 64), P("fsdp", "tensor")),  # the first rule that is found, and only it
    ],
)
def test_by_hand(path, shape, expected):
    assert partition_spec(RULES, path, shape, {"data": 3, "fsdp": 4, "tensor": 2}) == expected
