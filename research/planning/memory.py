"""The memory that a compiled program takes of each device, or that a compiler says it lacks."""

import dataclasses
import math
import re
from typing import Any

import jax

GPU_SHARE = 0.75
"""Of a GPU's memory, what JAX takes unless XLA_PYTHON_CLIENT_MEM_FRACTION says otherwise."""


@dataclasses.dataclass(frozen=True)
class Memory:
    """Bytes of each device: what lies there between steps, and what a step takes besides.

    `held` by name; `padding` is what tiles and alignment add to it. `results` are those that do not take the place of
    an argument. `temporaries` are activations, gradients and copies at their peak; None where the compiler gave up
    before it knew.
    """

    held: dict[str, int]
    padding: int = 0
    results: int = 0
    temporaries: int | None = None

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self.held.values()) + self.padding + self.results + (self.temporaries or 0)


@dataclasses.dataclass(frozen=True)
class Exhausted:
    """What a compiler says that a program needs, and what there is, in bytes; None where it does not say."""

    needed: int | None
    available: int | None


def bytes_per_device(tree: Any) -> int:
    """Return the bytes of an abstract tree on each device, by the sharding of every leaf; whole where it has none."""
    return sum(_bytes(leaf) for leaf in jax.tree.leaves(tree))


def memory(held: dict[str, int], compiled: Any) -> Memory:
    """Return the memory of a compiled program that is given what is `held`."""
    found = compiled.memory_analysis()
    return Memory(
        held,
        max(0, found.argument_size_in_bytes - sum(held.values())),
        max(0, found.output_size_in_bytes - found.alias_size_in_bytes),
        found.temp_size_in_bytes,
    )


def exhausted(error: Exception) -> Exhausted | None:
    """Return what a compiler's complaint about memory says; None for any other error."""
    text = str(error)
    if "RESOURCE_EXHAUSTED" not in text:
        return None
    used = re.search(r"Used ([\d.]+[KMGT]?) of ([\d.]+[KMGT]?) hbm", text, re.IGNORECASE)
    used = used or re.search(r"\(([\d.]+[KMGT]?)\) exceeds available HBM \(([\d.]+[KMGT]?)\)", text)
    return Exhausted(*map(_size, used.groups())) if used else Exhausted(None, None)


def _bytes(leaf: Any) -> int:
    """Return the bytes of one leaf's part."""
    sharding = getattr(leaf, "sharding", None)
    shape = leaf.shape if sharding is None else sharding.shard_shape(leaf.shape)
    return math.prod(shape) * leaf.dtype.itemsize


def _size(text: str) -> int:
    """Return the bytes that XLA writes as 15.75G, 512.0M or 64K, in powers of 1024."""
    return round(float(text.rstrip("KMGT")) * 1024 ** (" KMGT".index(text[-1]) if text[-1] in "KMGT" else 0))
