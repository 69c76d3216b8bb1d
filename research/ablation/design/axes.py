"""Axes of an ablation: pure functions that return tuples of override dictionaries, one dictionary a cell.

grid({"model.dropout": (0.0, 0.1), "steps": (500, 1000)})      # every combination, the last path fastest
one_at_a_time({"model.dropout": (0.0, 0.1), "steps": (500,)})  # three cells with one change each
leave_one_out({"warm-up": {"optimizer.warmup": 0}, "model.dropout": 0.0})
product(chain(fixed({}), fixed({"model.activation": "tanh"})), zipped({"steps": (500, 1000), "batch_size": (64, 32)}))

Nothing here knows an experiment: `research.ablation.plan` applies an axis to one and refuses paths it does not have.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from research.ablation.design.paths import short_paths
from research.errors import UsageError


class Overrides(dict[str, Any]):
    """The overrides of one cell; equal to the plain dictionary with the same items.

    `labels` holds (text, paths) for groups of paths that have a better name than their values, such as "no warm-up".
    """

    def __init__(self, overrides: Mapping[str, Any] = {}, labels: Iterable[tuple[str, tuple[str, ...]]] = ()) -> None:
        super().__init__(overrides)
        self.labels = tuple(labels)


Axis = tuple[Overrides, ...]


def fixed(overrides: Mapping[str, Any]) -> Axis:
    """Return the axis with one cell."""
    if not isinstance(overrides, Mapping) or not all(isinstance(path, str) for path in overrides):
        raise UsageError(f"overrides are a dictionary of {{dotted path: value}}, not {overrides!r}")
    return (Overrides(overrides, getattr(overrides, "labels", ())),)


def grid(values: Mapping[str, Sequence[Any]]) -> Axis:
    """Return every combination of the values of each path; the last path changes fastest."""
    return product(*(_alone(path, items) for path, items in _listed(values).items()))


def zipped(values: Mapping[str, Sequence[Any]]) -> Axis:
    """Return one cell for the first value of every path, one for the second, and so on."""
    listed = _listed(values)
    if len({len(items) for items in listed.values()}) != 1:
        lengths = ", ".join(f"{path} has {len(items)}" for path, items in listed.items())
        raise UsageError(f"zipped paths need equally many values: {lengths}")
    return tuple(Overrides(dict(zip(listed, row, strict=True))) for row in zip(*listed.values(), strict=True))


def one_at_a_time(values: Mapping[str, Sequence[Any]]) -> Axis:
    """Return one cell for each value of each path, all other paths left as they are."""
    return chain(*(_alone(path, items) for path, items in _listed(values).items()))


def chain(*axes: Iterable[Mapping[str, Any]]) -> Axis:
    """Return the cells of the first axis, then those of the second, and so on."""
    return tuple(cell for axis in axes for cell in _cells(axis))


def product(*axes: Iterable[Mapping[str, Any]]) -> Axis:
    """Return every combination of one cell of each axis; the last axis changes fastest.

    Raises:
        UsageError: two axes set the same path.
    """
    return tuple(_merged(cells) for cells in itertools.product(*map(_cells, axes)))


def filtered(axis: Iterable[Mapping[str, Any]], predicate: Callable[[Mapping[str, Any]], bool]) -> Axis:
    """Return the cells for which `predicate(overrides)` holds."""
    return tuple(cell for cell in _cells(axis) if predicate(cell))


def when(
    axis: Iterable[Mapping[str, Any]],
    predicate: Callable[[Mapping[str, Any]], bool],
    inner: Iterable[Mapping[str, Any]],
) -> Axis:
    """Return `axis` with the cells for which `predicate(overrides)` holds crossed with `inner`, in place."""
    inner = _cells(inner)
    return chain(*(product((cell,), inner) if predicate(cell) else (cell,) for cell in _cells(axis)))


def leave_one_out(components: Mapping[str, Any]) -> Axis:
    """Return one cell for each component, with that one off.

    A component is {path: the value that switches it off}, or {name: overrides that switch it off}; a named one gives
    a cell called "no NAME".
    """
    return tuple(
        Overrides(off, [(f"no {name}", tuple(off))] if isinstance(components[name], Mapping) else ())
        for name, off in _components(components).items()
    )


def add_one_in(components: Mapping[str, Any]) -> Axis:
    """Return the rows of a cumulative table: all components off, then switched back on one by one in the given order.

    Components are those of `leave_one_out`. A cell holds the overrides of those still off, so the last is the baseline.
    """
    off = list(_components(components).items())
    rows = [_merged(_cells([overrides for _, overrides in off[count:]])) for count in range(len(off) + 1)]
    short = short_paths(components)
    labels = ["all off", *(f"+ {short[name]}" for name, _ in off)]
    return tuple(Overrides(row, [(label, tuple(row))]) for row, label in zip(rows, labels, strict=True))


def seeds(n: int, first: int = 0) -> Axis:
    """Return `n` cells that set the experiment's seed; a `Study` has its own `seeds` instead, to pair its cells."""
    if n < 1 or first < 0:
        raise UsageError(f"seeds need n of at least 1 and first of at least 0, not n={n} and first={first}")
    return _alone("seed", range(first, first + n))


def _alone(path: str, items: Iterable[Any]) -> Axis:
    """Return one cell for each value of one path."""
    return tuple(Overrides({path: item}) for item in items)


def _listed(values: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
    """Check that every path has a list of values; NumPy's become Python's."""
    if not isinstance(values, Mapping) or not values:
        raise UsageError(f"an axis needs {{dotted path: values}}, not {values!r}")
    for path, items in values.items():
        if not isinstance(items, list | tuple | range | np.ndarray):
            raise UsageError(f"{path} needs a list of values, not {items!r}")
        if len(items) == 0:
            raise UsageError(f"{path} needs at least one value")
    return {
        path: [item.item() if isinstance(item, np.generic) else item for item in items]
        for path, items in values.items()
    }


def _cells(axis: Iterable[Mapping[str, Any]]) -> Axis:
    """Check that `axis` holds dictionaries of overrides."""
    if isinstance(axis, Mapping):
        raise UsageError(f"an axis is a tuple of dictionaries; wrap a single one in fixed(...): {dict(axis)!r}")
    return tuple(cell for overrides in axis for cell in fixed(overrides))


def _merged(cells: Sequence[Overrides]) -> Overrides:
    """Return the overrides of all `cells` as one; no path may occur twice."""
    merged: dict[str, Any] = {}
    for cell in cells:
        for path in cell:
            if path in merged:
                raise UsageError(f'"{path}" is set twice in one cell, to {merged[path]!r} and {cell[path]!r}')
        merged |= cell
    return Overrides(merged, [label for cell in cells for label in cell.labels])


def _components(components: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what switches each component off, by the key it was given with."""
    if not isinstance(components, Mapping) or not components:
        raise UsageError(f"components are {{path: value when off}} or {{name: overrides}}, not {components!r}")
    for name, off in components.items():
        if isinstance(off, Mapping) and not off:
            raise UsageError(f'nothing switches the component "{name}" off')
    return {name: dict(off) if isinstance(off, Mapping) else {name: off} for name, off in components.items()}
