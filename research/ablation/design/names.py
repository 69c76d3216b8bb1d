"""Short, unique names of cells: what was changed, and to what."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from research.ablation.design.axes import Overrides
from research.ablation.design.paths import overlap
from research.experiment import difference, value_at
from research.fields import children, is_value

Changes = Mapping[str, Any]


def changes(baseline: Any, changed: Any) -> dict[str, Any]:
    """Return {path: value in `changed`} wherever two experiments differ."""
    return {path: value_at(changed, path) for path in difference(baseline, changed)}


def describe(overrides: Overrides, changed: Changes, short: Mapping[str, str], exact: bool = False) -> str:
    """Return the labels of `overrides`, then every change that they do not explain, as ``dropout 0.0, steps 500``."""
    explained = [path for _, paths in overrides.labels for path in paths]
    texts = [text for text, _ in overrides.labels]
    for path, value in changed.items():
        if not any(overlap(path, other) for other in explained):
            texts.append(f"{short[path]} {shown(value, exact)}")
    return ", ".join(texts)


def shown(value: Any, exact: bool = False) -> str:
    """Return a field's value for a table: four digits of a long number, and of a value its class, unless `exact`."""
    if isinstance(value, float):
        return repr(value) if exact or len(repr(value)) <= 7 else f"{value:.4g}"
    if isinstance(value, tuple):
        return f"({', '.join(shown(item, exact) for item in value)})"
    if is_value(value):
        fields = [f"{name} {shown(child, True)}" for name, child, _ in children(value)] if exact else []
        return " ".join([type(value).__name__, *([f"({', '.join(fields)})"] if fields else [])])
    return str(value)


def unique(candidates: Sequence[Sequence[str]], taken: Iterable[str] = ()) -> list[str]:
    """Return for each cell the first of its candidates that no other cell has; the last one numbered if need be."""
    counts = [Counter(names) for names in zip(*candidates, strict=True)]
    used = set(taken)
    result = []
    for names in candidates:
        free = (name for name, count in zip(names, counts, strict=True) if count[name] == 1 and name not in used)
        numbered = (f"{names[-1]} ({number})" for number in range(2, len(candidates) + 3))
        name = next(free, None) or next(name for name in (names[-1], *numbered) if name not in used)
        used.add(name)
        result.append(name)
    return result
