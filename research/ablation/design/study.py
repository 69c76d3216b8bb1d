"""A study: what is varied, against which baseline, over how many seeds; and the trials that it asks for.

studies = {"components": Study(one_at_a_time({"model.dropout": (0.0, 0.1)}), seeds=8)}
cells = plan(experiment, studies["components"])  # cells[0] is the baseline
check(cells)                                     # every model fits its data; computes nothing
trials(cells, final_seeds(experiment, studies["components"]))
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from research import training
from research.ablation.design.axes import Axis, Overrides, chain, fixed
from research.ablation.design.names import changes, describe, unique
from research.ablation.design.paths import short_paths
from research.data import Split
from research.errors import UsageError, suggestion
from research.experiment import Experiment, replace, split, to_json
from research.fields import Positive, Range, validate

Test = Literal["t", "permutation"]

BASELINE = "baseline"

# The first tuning seed lies this far beyond the first final one, so that neither can grow into the other.
TUNING = 1_000_000


@dataclasses.dataclass(frozen=True)
class Study:
    """An ablation of an experiment: a frozen value that lives beside the experiment, in its module."""

    cells: Axis = ()
    """The scientific axis: one set of overrides for each cell besides the baseline."""
    nuisance: Axis = ()
    """Settings among which the best on validation is taken within each cell and the baseline; () tunes nothing."""
    fixed: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Overrides of every cell and of the baseline."""
    seeds: Annotated[int, Range(1, TUNING)] = 8
    """Seeds of every cell; the experiment's own is the first. 8 are the fewest at which an exact test of six cells,
    corrected for six, can reach 0.05."""
    tuning_seeds: Annotated[int, Range(1, TUNING)] = 3
    """Further seeds, for nuisance settings only."""
    metric: str | None = None
    """What is compared; None is the task's monitor."""
    maximize: bool | None = None
    """Whether a greater metric is better; None asks the task, which knows its monitor and the loss."""
    metrics: tuple[str, ...] = ()
    """Further columns of the report."""
    alpha: Annotated[float, Range(0.0, 1.0, open_end=True, open_start=True)] = 0.05
    """Chance of any false claim among all cells."""
    margin: Positive | None = None
    """Differences below it, either way, count as none."""
    test: Test = "t"
    """Whose p decides: the paired t test's, which can reach any with few seeds and takes differences to be normal, or
    the sign-flip permutation test's, which takes them to be symmetric and needs more seeds."""
    looks: tuple[int, ...] = ()
    """Numbers of seeds at which the study may be looked at and ended, ascending; () is once, at `seeds`. The
    permutation test decides, corrected for all of them."""
    split: Split = "test"
    """Which examples decide."""
    title: str = ""
    """What the report is called; "" is the name of its folder."""
    description: str = ""
    """One sentence for the report."""

    def __post_init__(self) -> None:
        for name in ("cells", "nuisance"):
            object.__setattr__(self, name, chain(getattr(self, name)))
        object.__setattr__(self, "fixed", *fixed(self.fixed))
        validate(self)
        if list(self.looks) != sorted(set(self.looks)) or (self.looks and self.seeds not in self.looks):
            raise UsageError(f"looks are ascending numbers of seeds, {self.seeds} among them, not {list(self.looks)}")


class Goal(NamedTuple):
    """What a study compares, and whether more of it is better."""

    metric: str
    maximize: bool


@dataclasses.dataclass(frozen=True)
class Cell:
    """One row of a study. `index` 0 is the baseline; `name` is short and unique within the study."""

    index: int
    name: str
    overrides: Overrides
    experiment: Experiment
    aliases: tuple[str, ...] = ()
    """Other cells that the study asks for and that give the same experiment."""
    tuned: str = ""
    """The nuisance setting that won, such as ``learning_rate 0.01``."""


@dataclasses.dataclass(frozen=True)
class Trial:
    """One run of a study: `experiment` is the cell's, with the seed."""

    cell: Cell
    seed: int
    experiment: Experiment


def plan(experiment: Experiment, study: Study) -> tuple[Cell, ...]:
    """Return the cells of a study, baseline first; no two give the same experiment.

    A cell that equals the baseline, or an earlier cell, becomes an alias of it.

    Raises:
        UsageError: a path does not exist or a value does not fit; names the cell.
    """
    goal(experiment, study)
    baseline = applied(experiment, study.fixed, "fixed")
    short = short_paths(path for overrides in study.cells for path in overrides)
    rows: dict[str, tuple[Experiment, list[Overrides]]] = {to_json(baseline): (baseline, [Overrides()])}
    for index, overrides in enumerate(study.cells, start=1):
        changed = applied(baseline, overrides, f"cell {index} ({describe(overrides, overrides, short)})")
        rows.setdefault(to_json(changed), (changed, []))[1].append(overrides)
    return tuple(
        Cell(index, name, first, changed, tuple(describe(other, other, short) for other in others))
        for index, (name, (changed, (first, *others))) in enumerate(
            zip([BASELINE, *_names(list(rows.values()))], rows.values(), strict=True)
        )
    )


def applied(experiment: Experiment, overrides: Mapping[str, Any], where: str) -> Experiment:
    """Return `experiment` with overrides; an error says where they come from."""
    if "seed" in overrides:
        raise UsageError(f"{where}: every cell runs with the same seeds, so none may set its own; use Study(seeds=...)")
    try:
        return replace(experiment, overrides)
    except ValueError as error:
        kind = type(error) if isinstance(error, UsageError) else UsageError
        raise kind(f"{where}: {error}") from error


def _names(rows: Sequence[tuple[Experiment, Sequence[Overrides]]]) -> list[str]:
    """Return a name for each row after the first, from its labels and its differences to the first."""
    (baseline, _), *others = rows
    changed = [changes(baseline, experiment) for experiment, _ in others]
    short = short_paths(path for paths in changed for path in paths)
    candidates = [
        [describe(overrides, values, short, exact) for exact in (False, True)]
        for (_, (overrides, *_)), values in zip(others, changed, strict=True)
    ]
    return unique(candidates, taken=[BASELINE])


def check(cells: Iterable[Cell]) -> None:
    """Raise `UsageError`, naming the cell, unless model, task and data of every cell fit together.

    Traces each program once and computes nothing.
    """
    seen = set()
    for cell in cells:
        program, _ = split(cell.experiment)
        if program not in seen:
            seen.add(program)
            try:
                training.check(cell.experiment)
            except UsageError as error:
                raise type(error)(f"{cell.name}: {error}") from error
            except Exception as error:  # a fault in somebody's model keeps its traceback
                error.add_note(f"while checking the cell {cell.name}")
                raise


def goal(experiment: Experiment, study: Study) -> Goal:
    """Return the metric a study compares and whether more of it is better. Raises `UsageError` where nobody says."""
    metric = experiment.task.monitor if study.metric is None else study.metric
    maximize = direction(experiment, metric) if study.maximize is None else study.maximize
    if maximize is None:
        if (names := training.metric_names(experiment)) and metric not in names:
            raise UsageError(f'there is no metric "{metric}"{suggestion(metric, names)}')
        raise UsageError(
            f'say whether more "{metric}" is better: Study(metric="{metric}", maximize=True or False), or '
            "--maximize True or False"
        )
    return Goal(metric, maximize)


def direction(experiment: Experiment, metric: str) -> bool | None:
    """Return whether more of a metric is better, which the task knows of its monitor and the loss; else None."""
    if metric == experiment.task.monitor:
        return experiment.task.maximize
    return False if metric == "loss" else None


def final_seeds(experiment: Experiment, study: Study) -> range:
    """Return the seeds of every cell: the experiment's own and those after it."""
    return range(experiment.seed, experiment.seed + study.seeds)


def trials(cells: Iterable[Cell], seeds: Iterable[int]) -> tuple[Trial, ...]:
    """Return every cell with every seed; all cells of the first seed come first, so that pairs complete early."""
    cells = tuple(cells)
    return tuple(Trial(cell, seed, replace(cell.experiment, {"seed": seed})) for seed in seeds for cell in cells)
