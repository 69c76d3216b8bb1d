"""Learning curves of a study: mean and interval over seeds, from the journals of its trials."""

import dataclasses
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from research.ablation.design.study import Cell, Study, final_seeds, goal
from research.ablation.report.entries import LEVEL
from research.ablation.statistics.comparison import t_interval
from research.ablation.store.study_folder import Outcome
from research.errors import RunError
from research.experiment import fingerprint
from research.training.storage.folder import Folder, numbers
from research.training.storage.journal import read


@dataclasses.dataclass(frozen=True)
class Curve:
    """One cell over training. `low` and `high` bound the 95 % t interval of the mean at each step."""

    name: str
    n: int
    """Seeds that the mean is taken over: those whose run finished, with finite values all along."""
    steps: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Curves:
    """The curves of a study, the baseline first; a cell without any finished run has none."""

    study: str
    metric: str
    split: str
    curves: tuple[Curve, ...]


def curves(
    outcomes: Iterable[Outcome], cells: Sequence[Cell], study: Study, title: str = "", split: str = "validation"
) -> Curves:
    """Return the learning curves of what a study compares, at the steps that all seeds of a cell were evaluated at.

    Arguments as of `table`. A metric that is not among those of training evaluations gives no curves.
    """
    baseline = cells[0].experiment
    metric, seeds = goal(baseline, study).metric, final_seeds(baseline, study)
    done = [outcome for outcome in outcomes if outcome.phase == "final" and outcome.status == "done"]
    done = [outcome for outcome in done if outcome.seed in seeds]
    found = []
    for cell in cells:
        mine = [outcome for outcome in done if outcome.fingerprint == fingerprint(cell.experiment)]
        points = [_points(Folder(outcome.folder).metrics, metric, split) for outcome in mine]
        points = [values for values in points if values and np.isfinite(list(values.values())).all()]
        if points:
            found.append(_curve(cell.name, points))
    return Curves(title, metric, split, tuple(found))


def _points(journal: Path, metric: str, split: str) -> dict[int, float]:
    """Return {step: value} of a journal. Raises `RunError` where it is damaged."""
    try:
        found = {line["step"]: line[metric] for line in read(journal) if line["split"] == split and metric in line}
        return numbers(found)
    except (ValueError, TypeError, OverflowError) as error:
        raise RunError(f"{journal} is damaged: {error}; restore it, or delete the run and run it again") from error


def _curve(name: str, points: Sequence[dict[int, float]]) -> Curve:
    """Return the curve of a cell from {step: value} of its seeds."""
    steps = sorted(set.intersection(*(set(values) for values in points)))
    columns = np.array([[values[step] for values in points] for step in steps]).reshape(len(steps), len(points))
    low, high = (tuple(np.asarray(bound).tolist()) for bound in t_interval(columns, LEVEL))
    return Curve(name, len(points), tuple(steps), tuple(columns.mean(axis=1).tolist()), low, high)
