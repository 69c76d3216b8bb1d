"""Searches with a sampler that learns (Optuna): ask for a batch of settings, run it as cells of a study, tell.

found = search(experiment, {"optimizer.learning_rate": log_uniform(1e-4, 1e-1)}, "runs/search", trials=32, batch=8)
found.best.setting  # {"optimizer.learning_rate": 0.0123}

A search picks the setting that does best on validation, so the winner's score is optimistic. What it is worth is for
fresh seeds to say: a search trains on the seeds for tuning, none of which is ever a seed of a study. To compare cells
each at its own best setting, use `Study(nuisance=...)`, which tunes every cell alike and tests on fresh seeds.
"""

import csv
import io
from collections.abc import Callable
from pathlib import Path

from research.ablation.design.parsing import Space
from research.ablation.design.study import Study
from research.ablation.execution.modes.choosing import Execution
from research.ablation.execution.running import ablate
from research.ablation.store.claims import Claims
from research.ablation.store.study_folder import Outcome, Store
from research.ablation.strategies.memory import Found, Memory, pause
from research.errors import RunError, UsageError
from research.experiment import Experiment, RunOptions
from research.training.faults.guard import interruptible
from research.training.storage.files import write


def search(
    experiment: Experiment,
    space: Space,
    workdir: str | Path,
    trials: int = 32,
    batch: int = 8,
    options: RunOptions | None = None,
    execution: Execution = "auto",
    *,
    seeds: int = 3,
    sampler_seed: int = 0,
    metric: str | None = None,
    maximize: bool | None = None,
    workers: int = 1,
) -> Found:
    """Search a space for the setting that does best on validation; search.csv has every trial.

    Settings of a batch run as the cells of a study, so those of one program train together, and nothing that is
    finished is run again: the same call resumes, with more trials if so asked. Several processes with the same folder
    share a batch. The next one depends on nothing but the space, `sampler_seed` and the results so far.

    Args:
        experiment: what is varied; it is run as it stands too, as the baseline.
        space: {path: distribution} of `research.ablation.design.space`; all values of it must fit together. The sampler
            (TPE, Bergstra et al., "Algorithms for hyper-parameter optimization", 2011; with a constant liar, so that a
            batch spreads) works on the numbers in [0, 1) that the distributions map from: on the logarithm of what is
            log-uniform, and on the position of a choice.
        workdir: a folder of its own.
        trials: settings in all.
        batch: settings that are asked for before the results of any is told.
        options, execution: as for `ablate`.
        seeds: runs of each setting.
        sampler_seed: of the sampler.
        metric, maximize: as in `Study`; default: what the task monitors.
        workers: as for `ablate`.

    Raises:
        UsageError: Optuna is not installed, the space does not fit, or the folder holds another search.
        Interrupted: stopped early; the same call resumes.
        RunError: a trial's folder cannot be written, or the record of the search is damaged.
    """
    if trials < 1 or batch < 1:
        raise UsageError(f"a search needs at least one trial and a batch of at least one, not {trials} and {batch}")
    study = Study(seeds=seeds, metric=metric, maximize=maximize, split="validation")
    memory = Memory(experiment, study, space, Path(workdir), sampler_seed)
    with Claims() as claims, interruptible() as interrupted:
        while memory.next_batch(claims, trials, batch, interrupted):
            memory.tell(complete(memory, options, execution, interrupted, workers))
            write(memory.root / "search.csv", as_csv(memory.found(), space))
    return memory.found()


def complete(
    memory: "Memory", options: RunOptions | None, execution: Execution, interrupted: Callable[[], bool], workers: int
) -> Store:
    """Run what was asked for until every trial has ended, at other processes too. Raises as `search`."""
    before: list[Outcome] = []
    while True:
        store = ablate(memory.experiment, memory.study(), memory.root, options, execution, workers=workers)
        left = [outcome for outcome in store.outcomes() if outcome.status in ("planned", "running")]
        if not left:
            return store
        if left == before and not any(outcome.status == "running" for outcome in left):
            raise RunError(f"{left[0].folder} could not be trained; see the warnings above")
        before = left
        pause(memory.root, interrupted)


def as_csv(found: Found, space: Space) -> str:
    """Return every trial as CSV, one row each, the baseline first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("trial", f"validation {found.metric}", *space))
    for item in (found.baseline, *found.tried):
        number = "baseline" if item.number < 0 else item.number
        writer.writerow((number, item.value, *(item.setting.get(path, "") for path in space)))
    return text.getvalue()
