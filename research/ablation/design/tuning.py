"""Nuisance settings: the best on validation within each cell, found on seeds that are not used again.

The winner's validation score is optimistic, so only fresh seeds enter a comparison.

tunings = nuisance_plan(experiment, study)
tuning_trials = [trials(tuning.variants, tuning_seeds(experiment, study)) for tuning in tunings]
cells = winners(tunings, scores, maximize)
trials(cells, final_seeds(experiment, study))
"""

import dataclasses
import itertools
import math
from collections.abc import Mapping, Sequence

from research.ablation.design.axes import product
from research.ablation.design.names import describe, unique
from research.ablation.design.paths import short_paths
from research.ablation.design.study import TUNING, Cell, Study, applied, plan
from research.errors import UsageError
from research.experiment import Experiment, to_json


@dataclasses.dataclass(frozen=True)
class Tuning:
    """A cell and the nuisance settings that are tried in it.

    A variant's `index` is unique within the study, and its `tuned` names its setting.
    """

    cell: Cell
    variants: tuple[Cell, ...]


def nuisance_plan(experiment: Experiment, study: Study) -> tuple[Tuning, ...]:
    """Return each cell of a study, baseline first, with its nuisance variants; () where the study tunes nothing.

    Raises:
        UsageError: a path does not exist, a value does not fit, or a cell sets a nuisance path itself; names the cell.
    """
    if not study.nuisance:
        return ()
    short = short_paths([path for overrides in study.nuisance for path in overrides])
    settings = unique(
        [[describe(overrides, overrides, short, exact) for exact in (False, True)] for overrides in study.nuisance]
    )
    count = itertools.count()
    tunings = []
    for cell in plan(experiment, study):
        variants: dict[str, Cell] = {}
        for overrides, setting in zip(study.nuisance, settings, strict=True):
            where = f"{cell.name} with {setting}"
            try:
                (merged,) = product((cell.overrides,), (overrides,))
            except UsageError as error:
                raise UsageError(f"{where}: {error}") from error
            changed = applied(cell.experiment, overrides, where)
            key = to_json(changed)
            if key not in variants:
                variants[key] = Cell(next(count), where, merged, changed, tuned=setting)
        tunings.append(Tuning(cell, tuple(variants.values())))
    return tuple(tunings)


def tuning_seeds(experiment: Experiment, study: Study) -> range:
    """Return the seeds of nuisance variants: none of them is ever a final seed, however many of those there will be."""
    first = experiment.seed + TUNING
    return range(first, first + study.tuning_seeds)


def winners(tunings: Sequence[Tuning], scores: Mapping[int, Sequence[float]], maximize: bool) -> tuple[Cell, ...]:
    """Return each cell with the nuisance setting whose mean validation score is best; the first one of equals.

    Args:
        tunings: of `nuisance_plan`.
        scores: {index of the variant: its validation scores}, NaN for a run that diverged or failed.
        maximize: whether more is better.

    A setting with a score that is not finite, or with fewer scores than another one, never wins; where all settings
    are so, the first one stands, and its own runs will show what is wrong.
    """
    count = max((len(values) for values in scores.values()), default=0)

    def merit(variant: Cell) -> float:
        """Return the mean score, turned so that more is better."""
        values = scores.get(variant.index, ())
        if not count or len(values) < count or not all(map(math.isfinite, values)):
            return -math.inf
        mean = math.fsum(values) / count
        return mean if maximize else -mean

    best = [max(tuning.variants, key=merit) for tuning in tunings]
    return tuple(
        dataclasses.replace(tuning.cell, overrides=won.overrides, experiment=won.experiment, tuned=won.tuned)
        for tuning, won in zip(tunings, best, strict=True)
    )
