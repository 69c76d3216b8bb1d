"""Which fields keep an experiment from being traced: a plain `int` or `str` has no bounds that would say so."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from research.experiment import Experiment, replace, value_at
from research.fields import children, is_value, kind

PARTS = ("model", "task", "data", "optimizer")


def culprits(experiment: Experiment, trace: Callable[[Experiment], Any]) -> str:
    """Return in words what to set to another value, where `trace` fails: what has another value than its default.

    Those are named that stand alone between the experiment and a trace, else all of the model together; nothing where
    the defaults fail too.
    """

    def fits(overrides: dict[str, Any]) -> bool:
        """Return whether the experiment can be traced with some defaults."""
        try:
            trace(replace(experiment, overrides))
        except Exception:  # whatever a model of the user's raises
            return False
        return True

    for part in PARTS:
        changed = dict(_changed(getattr(experiment, part), part))
        if alone := {path: default for path, default in changed.items() if fits({path: default})}:
            return " or ".join(_shown(experiment, alone))
    together = dict(_changed(experiment.model, "model"))
    return " and ".join(_shown(experiment, together)) if len(together) > 1 and fits(together) else ""


def _shown(experiment: Experiment, defaults: dict[str, Any]) -> Iterator[str]:
    """Yield for each field, by its path, what it is and what it might be."""
    for path, default in defaults.items():
        yield f"{path}, which is {value_at(experiment, path)!r}, to another value, such as its default {default!r}"


def _changed(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield path and default of every field below a value that has another one and is part of the program."""
    defaults = {field.name: field.default for field in dataclasses.fields(node)}
    for name, child, annotation in children(node):
        if is_value(child):
            yield from _changed(child, f"{path}.{name}")
        elif defaults[name] not in (dataclasses.MISSING, child) and kind(child, annotation) == "program":
            yield f"{path}.{name}", defaults[name]
