"""study.json: a study and its experiment as a file, and what may be added to it later."""

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from research.ablation.design.axes import Overrides
from research.ablation.design.study import Study, applied, plan
from research.ablation.store.history import History, read_history
from research.errors import RunError, UnknownClassError, UsageError
from research.experiment import Experiment, classes, fingerprint, from_json, modern_override, to_json
from research.training.storage import sealed

AXES = ("cells", "nuisance")
MAY_CHANGE = ("title", "description", "metrics")  # what is shown, not what is run or claimed
GROWS = ("cells", "seeds", "looks")  # what `merged` decides by itself


class Held(NamedTuple):
    """What a study.json holds."""

    experiment: Experiment
    study: Study
    history: History


def write_study(file: Path, experiment: Experiment, study: Study, history: History = History()) -> None:
    """Write a study; `plan`, the fingerprint of every cell by name, is for readers."""
    fields = {field.name: getattr(study, field.name) for field in dataclasses.fields(study)}
    content = {
        "experiment": _encoded(experiment),
        **fields,
        "fixed": _encoded_overrides(study.fixed),
        **{name: [_encoded_overrides(overrides) for overrides in fields[name]] for name in AXES},
        "plan": {cell.name: fingerprint(cell.experiment) for cell in plan(experiment, study)},
        "history": dataclasses.asdict(history),
    }
    sealed.write(file, json.dumps(content, indent=2) + "\n")


def read_study(file: Path, known: Iterable[type] = (), like: Iterable[Any] = ()) -> Held:
    """Return the experiment, the study and its history of a file.

    Args:
        file: study.json.
        known: classes besides the project's own that it may name.
        like: an experiment and a study whose classes it may name too.

    Raises:
        RunError: there is none, or it is damaged.
    """
    known = set(known).union(named(*like))
    try:
        content = json.loads(sealed.read(file))
        experiment = _decoded(content.pop("experiment"), known)
        if not isinstance(experiment, Experiment):
            raise UsageError("it holds no experiment")
        history = read_history(content)
        content = {name: value for name, value in content.items() if name not in ("plan", "history")}
        fields: dict[str, Any] = {
            **{name: tuple(value) if isinstance(value, list) else value for name, value in content.items()},
            "fixed": _decoded_overrides(content["fixed"], known, experiment),
            **{name: tuple(_decoded_overrides(item, known, experiment) for item in content[name]) for name in AXES},
        }
        study = Study(**fields)
        plan(experiment, study)
    except FileNotFoundError:
        raise RunError(f"{file.parent} holds no study: it has no study.json") from None
    except UnknownClassError as error:
        raise RunError(f"cannot read {file}: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, OSError) as error:
        raise RunError(f"{file} is damaged: {error}; restore it or choose another folder") from error
    return Held(experiment, study, history)


def merged(held: Study, asked: Study, where: str, begun: Callable[[], bool]) -> Study:
    """Return the study of a folder with the cells and seeds that are asked for added.

    Cells and seeds that are there already stay, whether or not they are asked for again: their results exist. A cell
    that is asked for again has the name that it is given now. A plan of looks stays too, and is made before anything
    has `begun`.

    Raises:
        UsageError: anything else differs that decides what is run or claimed; says what.
    """
    differing = [
        f"{field.name}: {getattr(held, field.name)!r} -> {getattr(asked, field.name)!r}"
        for field in dataclasses.fields(Study)
        if field.name not in (*GROWS, *MAY_CHANGE) and getattr(held, field.name) != getattr(asked, field.name)
    ]
    if differing:
        lines = "\n".join(differing)
        raise UsageError(f"{where} holds a different study; choose another folder for this one:\n{lines}")
    looks, seeds = held.looks, max(held.seeds, asked.seeds)
    if asked.looks not in ((), held.looks):
        if held.looks or begun():
            plan_held = f"looks at {_listed(held.looks)} seeds" if held.looks else "no further looks"
            raise UsageError(
                f"{where} was begun with {plan_held} in its plan, so looks at {_listed(asked.looks)} seeds are not "
                "fixed beforehand: choose another folder for them"
            )
        looks, seeds = asked.looks, asked.seeds
    if looks and seeds not in looks:
        raise UsageError(
            f"{where} is looked at with {_listed(looks)} seeds, as was fixed before its first run, and {seeds} is none "
            f"of them: --until_resolved {looks[-1]} continues it"
        )
    again = [next((new for new in asked.cells if new == cell), cell) for cell in held.cells]
    added = [cell for cell in asked.cells if cell not in held.cells]
    kept = any(cell not in asked.cells for cell in held.cells)
    cells = (*again, *added) if kept else asked.cells
    return dataclasses.replace(asked, cells=cells, seeds=seeds, looks=looks, title=asked.title or held.title)


def without(experiment: Experiment, study: Study, fingerprints: Iterable[str]) -> Study:
    """Return a study without the cells whose experiments have these fingerprints."""
    gone = set(fingerprints)
    if not gone:
        return study
    baseline = applied(experiment, study.fixed, "fixed")
    cells = tuple(cell for cell in study.cells if fingerprint(applied(baseline, cell, "cell")) not in gone)
    return dataclasses.replace(study, cells=cells)


def _listed(numbers: Iterable[int]) -> str:
    """Return numbers in words."""
    return ", ".join(map(str, numbers))


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


def named(*values: Any) -> set[type]:
    """Return the classes that experiments, or the overrides of studies, name."""
    axes = (
        item for study in values if isinstance(study, Study) for item in (study.fixed, *study.cells, *study.nuisance)
    )
    overridden = (value for overrides in axes for value in overrides.values())
    alone = (value for value in values if not isinstance(value, Study))
    return set[type]().union(*(classes(value) for value in (*alone, *overridden)))
