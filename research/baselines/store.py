"""Where results of baselines are kept: a folder for each baseline and seed, with its result.json."""

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

from research.baselines.baseline import Baseline
from research.errors import RunError
from research.experiment import Experiment
from research.experiment.encoding import encode
from research.experiment.moved import changed
from research.fields import validate
from research.training.storage import sealed
from research.training.storage.folder import finite, numbers


@dataclasses.dataclass(frozen=True)
class Judgement:
    """What came of one baseline with one seed: the content of result.json.

    `metrics` is {split: {name: value}} by the experiment's own task, `seconds` the wall time of fitting, in which a
    library is imported, of evaluating and in total. What could not be fitted has an `error`, a sentence, and neither.
    """

    name: str
    fingerprint: str
    seed: int
    baseline: dict[str, Any]
    """The value, as JSON."""
    metrics: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    commit: str | None = None
    error: str = ""
    traceback: str = ""


def fingerprint(baseline: Baseline, experiment: Experiment) -> str:
    """Return ten hexadecimal digits that name a baseline on an experiment's data, judged by its task.

    They hash the fields that differ from their defaults, as those of an experiment do.
    """
    parts = {"baseline": baseline, "data": experiment.data, "task": experiment.task}
    tree = {name: encode(part, name, fields=changed) for name, part in parts.items()}
    return hashlib.sha256(json.dumps(tree, sort_keys=True).encode()).hexdigest()[:10]


def folder(root: Path, judgement: Judgement) -> Path:
    """Return the folder of one baseline and seed."""
    return root / f"{judgement.name}-{judgement.fingerprint}-seed{judgement.seed}"


def read(file: Path) -> Judgement | None:
    """Return a result, None where there is none yet. Raises `RunError` where it is damaged."""
    try:
        judgement = Judgement(**json.loads(sealed.read(file)))
        validate(judgement)
        metrics = {split: numbers(values) for split, values in judgement.metrics.items()}
        return dataclasses.replace(judgement, metrics=metrics, seconds=numbers(judgement.seconds))
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, OSError) as error:
        raise RunError(f"{file} is damaged: {error}; delete it and run again") from error


def judgements(root: Path) -> tuple[Judgement, ...]:
    """Return all results in a folder of baselines, by name, fingerprint and seed.

    Raises:
        RunError: one of them is damaged.
    """
    found = [judgement for file in root.glob("*/result.json") if (judgement := read(file)) is not None]
    return tuple(sorted(found, key=lambda judgement: (judgement.name, judgement.fingerprint, judgement.seed)))


def keep(root: Path, judgement: Judgement) -> None:
    """Write a result, whole or not at all."""
    where = folder(root, judgement)
    where.mkdir(parents=True, exist_ok=True)
    sealed.write(where / "result.json", json.dumps(finite(dataclasses.asdict(judgement)), indent=2) + "\n")
