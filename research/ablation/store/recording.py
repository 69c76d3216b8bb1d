"""study.json: a study and its experiment as a file, and what may be added to it later."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from research.ablation.design.axes import Overrides
from research.ablation.design.study import Study, plan
from research.errors import RunError, UsageError
from research.experiment import Experiment, classes, fingerprint, from_json, modern_override, to_json
from research.training.storage.folder import write

AXES = ("cells", "nuisance")
MAY_CHANGE = ("description", "metrics")  # what is shown, not what is run or claimed


def write_study(file: Path, experiment: Experiment, study: Study) -> None:
    """Write a study; `plan`, the fingerprint of every cell by name, is for readers."""
    fields = {field.name: getattr(study, field.name) for field in dataclasses.fields(study)}
    content = {
        "experiment": _encoded(experiment),
        **fields,
        "fixed": _encoded_overrides(study.fixed),
        **{name: [_encoded_overrides(overrides) for overrides in fields[name]] for name in AXES},
        "plan": {cell.name: fingerprint(cell.experiment) for cell in plan(experiment, study)},
    }
    write(file, json.dumps(content, indent=2) + "\n")


def read_study(file: Path, known: Iterable[type] = (), like: Iterable[Any] = ()) -> tuple[Experiment, Study]:
    """Return the experiment and the study of a file.

    Args:
        file: study.json.
        known: classes besides the project's own that it may name.
        like: an experiment and a study whose classes it may name too.

    Raises:
        RunError: there is none, or it is damaged.
    """
    known = set(known).union(*(_named(value) for value in like))
    try:
        content = json.loads(file.read_text())
        experiment = _decoded(content.pop("experiment"), known)
        if not isinstance(experiment, Experiment):
            raise UsageError("it holds no experiment")
        del content["plan"]
        fields: dict[str, Any] = {
            **{name: tuple(value) if isinstance(value, list) else value for name, value in content.items()},
            "fixed": _decoded_overrides(content["fixed"], known, experiment),
            **{name: tuple(_decoded_overrides(item, known, experiment) for item in content[name]) for name in AXES},
        }
        study = Study(**fields)
        plan(experiment, study)
    except FileNotFoundError:
        raise RunError(f"{file.parent} holds no study: it has no study.json") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError) as error:
        raise RunError(f"{file} is damaged: {error}; restore it or choose another folder") from error
    return experiment, study


def merged(held: Study, asked: Study, where: str) -> Study:
    """Return the study of a folder with the cells and seeds that are asked for added.

    Cells and seeds that are there already stay, whether or not they are asked for again: their results exist.

    Raises:
        UsageError: anything else differs that decides what is run or claimed; says what.
    """
    differing = [
        f"{field.name}: {getattr(held, field.name)!r} -> {getattr(asked, field.name)!r}"
        for field in dataclasses.fields(Study)
        if field.name not in ("cells", "seeds", *MAY_CHANGE) and getattr(held, field.name) != getattr(asked, field.name)
    ]
    if differing:
        lines = "\n".join(differing)
        raise UsageError(f"{where} holds a different study; choose another folder for this one:\n{lines}")
    kept = [cell for cell in held.cells if cell not in asked.cells]
    added = [cell for cell in asked.cells if cell not in held.cells]
    cells = (*held.cells, *added) if kept else asked.cells
    return dataclasses.replace(asked, cells=cells, seeds=max(held.seeds, asked.seeds))


def _encoded_overrides(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return overrides and their labels as JSON types."""
    values = {path: _encoded(value) for path, value in overrides.items()}
    return {"overrides": values, "labels": getattr(overrides, "labels", ())}


def _decoded_overrides(tree: dict[str, Any], known: set[type], experiment: Experiment) -> Overrides:
    """Return the overrides of `experiment` that JSON types describe; earlier versions named some fields otherwise."""
    values = {path: _decoded(value, known) for path, value in tree["overrides"].items()}
    paths = {path: modern_override(experiment, path, value) for path, value in values.items()}
    labels = [(text, tuple(paths[path][0] if path in paths else path for path in of)) for text, of in tree["labels"]]
    return Overrides(dict(paths.values()), labels)


def _encoded(value: Any) -> Any:
    """Return a value as JSON types."""
    return json.loads(to_json(value))


def _decoded(tree: Any, known: set[type]) -> Any:
    """Return the value that JSON types describe."""
    return from_json(json.dumps(tree), known)


def _named(value: Any) -> set[type]:
    """Return the classes that an experiment, or the overrides of a study, name."""
    if not isinstance(value, Study):
        return classes(value)
    axes = [value.fixed, *value.cells, *value.nuisance]
    return set[type]().union(*(classes(item) for overrides in axes for item in overrides.values()))
