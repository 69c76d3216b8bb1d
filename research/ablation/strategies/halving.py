"""Screening: successive halving, which stops the less promising cells early and decides nothing for good.

Every cell is trained to the first rung; those that are best on validation advance to the next one, and what is left
after the last one to the end (Jamieson and Talwalkar, "Non-stochastic best arm identification and hyperparameter
optimization", 2016). The schedule is that of the full run, so a cell that advances is the run that nobody had stopped.

What is left was picked for its scores: they are optimistic, and no test may be made of them. A screening trains on the
seeds for tuning, so that those of a study are fresh.
"""

import contextlib
import csv
import dataclasses
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from research.ablation.design.study import TUNING, Cell, Study, Trial, final_seeds, plan, trials
from research.ablation.execution.modes.choosing import Execution
from research.ablation.execution.options import for_trials
from research.ablation.execution.readiness import check_new
from research.ablation.execution.running import Sweep
from research.ablation.store.claims import Claims
from research.ablation.store.study_folder import MARK, Outcome, Store, write_status
from research.errors import RunError, UsageError
from research.experiment import Experiment, RunOptions, fingerprint, replace
from research.training.faults.guard import interruptible
from research.training.storage import journal, sealed
from research.training.storage.files import write
from research.training.storage.folder import Folder, finite


@dataclasses.dataclass(frozen=True)
class Rungs:
    """When cells are judged, and how many advance."""

    steps: tuple[int, ...]
    """Steps, ascending, at which cells are judged; what is left then is trained to the end."""
    keep: float = 1 / 3
    """Share of the cells besides the baseline that advances from each rung, rounded down, but at least one."""

    def __post_init__(self) -> None:
        if not self.steps or self.steps[0] < 1 or any(a >= b for a, b in zip(self.steps, self.steps[1:], strict=False)):
            raise UsageError(
                f"rungs are ascending steps of at least 1, not {', '.join(map(str, self.steps)) or 'none'}"
            )
        if not 0 < self.keep < 1:
            raise UsageError(f"the share of cells to keep is above 0 and below 1, not {self.keep}")


@dataclasses.dataclass(frozen=True)
class Standing:
    """How far a cell came.

    `value` is its mean over seeds on validation at `step`, NaN where a run failed or diverged.
    """

    cell: Cell
    step: int
    value: float
    status: str
    """Of its trials: "pruned", "done", "diverged", "failed"; "running" or "planned" where it is not there yet."""


def screen(
    experiment: Experiment,
    study: Study,
    workdir: str | Path,
    rungs: Rungs,
    options: RunOptions | None = None,
    execution: Execution = "auto",
    workers: int = 1,
) -> tuple[Standing, ...]:
    """Screen the cells of a study and return how they stand, best first; screening.csv has the same.

    Several processes with the same folder share the work, and what was killed resumes. The baseline always advances. A
    cell in which a run failed or diverged comes last.

    Args:
        experiment: the baseline.
        study: cells, fixed overrides, seeds, metric; whatever its split, cells are judged on validation.
        workdir: a folder of its own.
        rungs: steps and share.
        options: as for `train`; `evaluate_every` must divide every rung.
        execution, workers: as for `ablate`.

    Raises:
        UsageError: study, rungs and options do not fit, or the folder holds anything else.
        Interrupted: stopped early; the same call resumes.
        RunError: a trial's folder cannot be written.
    """
    options, execution = for_trials(options or RunOptions(), execution)
    store = open_screening(experiment, study, workdir, rungs, options)
    with Claims() as claims, interruptible() as interrupted:
        below = Below()
        sweep = Sweep(store, options, execution, (), False, claims, interrupted, workers, below)
        cells: Sequence[Cell] = store.cells()
        for step in rungs.steps:
            if not rung_file(store, step).exists():
                climb(sweep, store, below, cells, step)
                judge(store, cells, step, rungs.keep)
            cells = going_on(store, cells, step)
            sweep.lines.say(f"step {step}: {len(cells)} advance: {', '.join(cell.name for cell in cells)}")
        climb(sweep, store, below, cells, None)
    found = standings(store)
    write(store.root / "screening.csv", as_csv(found, store.goal.metric))
    return found


def open_screening(
    experiment: Experiment, study: Study, workdir: str | Path, rungs: Rungs, options: RunOptions
) -> Store:
    """Return the store of a screening and make its folder, unless something does not fit.

    Raises:
        UsageError: says what.
    """
    if study.nuisance:
        raise UsageError("a screening tunes no nuisance settings: make them a part of the cells, or leave them out")
    for step in rungs.steps:
        if not options.evaluate_every or step % options.evaluate_every:
            raise UsageError(
                f"cells are judged by an evaluation at step {step}, and evaluate_every is {options.evaluate_every}: "
                f"set it to a divisor, such as {math.gcd(*rungs.steps)}"
            )
    study = dataclasses.replace(study, split="validation")
    base = replace(experiment, {"seed": experiment.seed + TUNING})
    cells = plan(base, study)
    for cell in cells:
        if cell.experiment.steps <= rungs.steps[-1]:
            raise UsageError(f"{cell.name} has {cell.experiment.steps} steps, none left after rung {rungs.steps[-1]}")
    asked = {
        "steps": list(rungs.steps),
        "keep": rungs.keep,
        "seeds": study.seeds,
        "cells": {cell.name: fingerprint(cell.experiment) for cell in cells},
    }
    file = Path(workdir) / MARK
    begun = file.exists() or (Path(workdir) / "study.json").exists()
    if begun and not (file.exists() and read_asked(file) == asked):
        raise UsageError(f"{workdir} was not screened with these rungs, cells and seeds: choose another --workdir")
    check_new(Store.of(workdir, base, study))
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        sealed.write(file, json.dumps(asked, indent=2) + "\n")
    except OSError as error:
        raise UsageError(f"cannot write to {workdir}: {error.strerror}; choose another --workdir") from error
    return Store.open(workdir, base, study)


class Below:
    """Whether a trial is yet to come to `step`, None for the end."""

    step: int | None = None

    def __call__(self, outcome: Outcome) -> bool:
        # One that has been evaluated at its rung must not be handed to `train` again: it would pass the rung.
        if outcome.status not in ("planned", "running"):
            return False
        return self.step is None or self.step not in validations(outcome.folder)


def climb(sweep: Sweep, store: Store, below: Below, cells: Sequence[Cell], step: int | None) -> None:
    """Train every seed of cells to a step, None for the end; wait for other processes. Raises as `screen`."""
    below.step = step
    sweep.stop_trials_at(step)
    left = _left(store, below, trials(cells, _seeds(store)))
    while left:
        sweep.run([trial for trial, _ in left], "final")
        before, left = left, _left(store, below, (trial for trial, _ in left))
        if left == before and not any(outcome.status == "running" for _, outcome in left):
            raise RunError(f"{left[0][1].folder} could not be trained; see the warnings above")
        if left:
            sweep.pause()


def _left(store: Store, below: Below, every: Iterable[Trial]) -> list[tuple[Trial, Outcome]]:
    """Return the trials that are yet to come to a step."""
    found = [(trial, store.outcome(trial, "final")) for trial in every]
    return [(trial, outcome) for trial, outcome in found if below(outcome)]


def survivors(values: Sequence[float], keep: float, maximize: bool) -> list[int]:
    """Return the numbers of the cells that advance, ascending: 0, which is the baseline, and the best of the others.

    Args:
        values: the score of each cell; one that is not finite comes last.
        keep: share of the others, rounded down, but at least one.
        maximize: whether more is better. Of equals, the earlier cell advances.
    """
    others = range(1, len(values))
    costs = [math.inf if not math.isfinite(value) else -value if maximize else value for value in values]
    count = max(1, math.floor(keep * len(others) + 1e-9))  # a third of nine is three
    return [0, *sorted(sorted(others, key=lambda number: costs[number])[:count])]


def rung_file(store: Store, step: int) -> Path:
    """Return where it is written what was decided at a rung: {"scores": {cell: mean}, "going on": [cell, ...]}."""
    return store.root / "rungs" / f"{step}.json"


def judge(store: Store, cells: Sequence[Cell], step: int, keep: float) -> None:
    """Decide which cells advance from a rung, and write it down, last of all that the decision is made."""
    scores = [score(store, cell, step) for cell in cells]
    chosen = [cells[number] for number in survivors(scores, keep, store.goal.maximize)]
    for trial in trials([cell for cell in cells if cell not in chosen], _seeds(store)):
        outcome = store.recorded(trial, "final")
        if outcome.status in ("planned", "running"):  # one that failed keeps its error
            write_status(outcome.folder, "pruned", mode=outcome.mode, group=outcome.group, step=step)
    decided = {
        "scores": {cell.name: value for cell, value in zip(cells, scores, strict=True)},
        "going on": [cell.name for cell in chosen],
    }
    file = rung_file(store, step)
    file.parent.mkdir(exist_ok=True)
    sealed.write(file, json.dumps(finite(decided), indent=2) + "\n")


def going_on(store: Store, cells: Sequence[Cell], step: int) -> list[Cell]:
    """Return the cells that advance from a rung at which they were judged."""
    _, names = read_decision(rung_file(store, step))
    return [cell for cell in cells if cell.name in names]


def read_decision(file: Path) -> tuple[dict[str, float], list[str]]:
    """Return the scores of cells at a rung, NaN where there was none, and the names of those that advance.

    Raises:
        RunError: the file is damaged.
    """
    with _damage(file, "delete it to judge again"):
        content = json.loads(sealed.read(file))
        scores = {name: math.nan if value is None else float(value) for name, value in content["scores"].items()}
        return scores, [str(name) for name in content["going on"]]


def read_asked(file: Path) -> dict[str, Any]:
    """Return the rungs, cells and seeds that a folder is screened with. Raises `RunError` where the file is damaged."""
    with _damage(file, "restore it or choose another folder"):
        content = json.loads(sealed.read(file))
        return {**content, "steps": [int(step) for step in content["steps"]]}


@contextlib.contextmanager
def _damage(file: Path, remedy: str) -> Iterator[None]:
    """Say which file it is that cannot be read."""
    try:
        yield
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise RunError(f"{file} is damaged: {error}; {remedy}") from error


def score(store: Store, cell: Cell, step: int) -> float:
    """Return the mean over seeds of a cell on validation at a step; NaN where a run is missing, diverged or failed."""
    values = []
    for trial in trials([cell], _seeds(store)):
        report = validations(store.folder(trial)).get(step, {})
        # Where one class is common, a run whose loss is no longer finite may have the best accuracy of all.
        lost = store.recorded(trial, "final").status in ("failed", "diverged")
        finite = not lost and all(math.isfinite(report[name]) for name in store.watched(trial) & report.keys())
        values.append(report.get(store.goal.metric, math.nan) if finite else math.nan)
    return math.fsum(values) / len(values) if all(map(math.isfinite, values)) else math.nan


def validations(folder: Path) -> dict[int, dict[str, Any]]:
    """Return the reports of a run on validation by step."""
    return {line["step"]: line for line in journal.read(Folder(folder).metrics) if line["split"] == "validation"}


def standings(store: Store) -> tuple[Standing, ...]:
    """Return how the cells of a screening stand: those that came furthest first, and of them the best."""
    found = {cell.name: Standing(cell, 0, math.nan, status(store, cell)) for cell in store.cells()}
    for step in read_asked(store.root / MARK)["steps"]:
        if (file := rung_file(store, step)).exists():
            scores, _ = read_decision(file)
            for name in found.keys() & scores.keys():
                found[name] = dataclasses.replace(found[name], step=step, value=scores[name])
    for name, standing in found.items():
        if standing.status in ("done", "diverged"):
            last = standing.cell.experiment.steps
            found[name] = dataclasses.replace(standing, step=last, value=score(store, standing.cell, last))
    sign = -1 if store.goal.maximize else 1

    def order(standing: Standing) -> tuple[int, float]:
        """Return what to sort by."""
        return -standing.step, sign * standing.value if math.isfinite(standing.value) else math.inf

    return tuple(sorted(found.values(), key=order))


def status(store: Store, cell: Cell) -> str:
    """Return what came of a cell: the worst of what came of its trials."""
    outcomes = [store.outcome(trial, "final") for trial in trials([cell], _seeds(store))]
    worst = ("running", "planned", "pruned", "failed", "diverged", "done")
    return min((outcome.status for outcome in outcomes), key=worst.index)


def as_csv(found: Sequence[Standing], metric: str) -> str:
    """Return standings as CSV, one row a cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("cell", "status", "step", f"validation {metric}"))
    writer.writerows((item.cell.name, item.status, item.step, item.value) for item in found)
    return text.getvalue()


def _seeds(store: Store) -> range:
    """Return the seeds of every cell."""
    return final_seeds(store.experiment, store.study)
