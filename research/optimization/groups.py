"""Groups of parameters with a learning rate of their own."""

import dataclasses
from typing import Any

import jax

from research.fields import Switch, is_static_zero
from research.optimization.paths import under


@dataclasses.dataclass(frozen=True)
class Group:
    """Parameters that learn faster or slower than the others, or not at all."""

    parameters: tuple[str, ...]
    """Dotted paths such as "trunk" or "encoder.block_0", each with everything below it."""
    factor: Switch
    """Multiplies the learning rate; 0 freezes parameters and running statistics, and costs no backward pass."""


Groups = tuple[Group, ...]


def factors(groups: Groups, tree: Any, below: int = 0) -> Any:
    """Return the factor of each leaf of `tree`, that of the last group that names it; 1 where none does.

    Paths are counted from `below` levels down: 0 for parameters, 1 for collections of variables.
    """

    def factor(path: tuple[Any, ...], _: Any) -> Any:
        """Return the factor of the leaf at a path."""
        key = tuple(jax.tree_util.keystr((entry,), simple=True) for entry in path[below:])
        named = (group.factor for group in reversed(groups) if any(under(key, name) for name in group.parameters))
        return next(named, 1.0)

    return jax.tree_util.tree_map_with_path(factor, tree)


def frozen(groups: Groups, tree: Any, below: int = 0) -> Any:
    """Return a mask over `tree`, True where the factor is zero; `below` as for `factors`."""
    return jax.tree.map(is_static_zero, factors(groups, tree, below))


def where_frozen(mask: Any, old: Any, new: Any) -> Any:
    """Return a tree with the leaves of `old` where the mask is True and those of `new` elsewhere."""
    return jax.tree.map(lambda keep, before, after: before if keep else after, mask, old, new)
