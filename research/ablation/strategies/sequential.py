"""Adding seeds until every cell is resolved, with the looks fixed beforehand and corrected for."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from research.ablation.design.study import Study
from research.ablation.execution.modes.choosing import Execution
from research.ablation.execution.readiness import prepared
from research.ablation.execution.running import ablate
from research.ablation.store.study_folder import Store
from research.errors import UsageError
from research.experiment import Experiment, RunOptions


def looks(first: int, most: int) -> tuple[int, ...]:
    """Return the numbers of seeds at which a study is looked at: doubling from `first`, ending with `most`."""
    if most < first:
        raise UsageError(f"a study of {first} seeds cannot end with {most}")
    numbers = [first]
    while numbers[-1] * 2 < most:
        numbers.append(numbers[-1] * 2)
    return tuple(dict.fromkeys((*numbers, most)))


def looking(study: Study, most: int) -> Study:
    """Return a study that plans looks from its seeds to `most`; one that has a plan keeps it.

    With `most` equal to its seeds it is looked at once, and there is nothing to plan.

    Raises:
        UsageError: `most` is less than the study's seeds, or its plan ends otherwise.
    """
    planned = looks(study.seeds, most)
    if study.looks and study.looks[-1] != most:
        raise UsageError(
            f"the study plans looks at {', '.join(map(str, study.looks))} seeds, which do not end with {most}"
        )
    return study if study.looks or len(planned) == 1 else dataclasses.replace(study, looks=planned)


def ablate_until_resolved(
    experiment: Experiment,
    study: Study,
    most: int,
    workdir: str | Path,
    options: RunOptions | None = None,
    execution: Execution = "auto",
    **flags: Any,
) -> tuple[Store, str]:
    """Run a study, doubling its seeds from `study.seeds` to `most` until no cell is open; return store and verdicts.

    The looks are written into study.json before the first run, every report keeps to them, and no others are made in
    that folder. With `most` equal to `study.seeds` this is `ablate`, and there is nothing to say. A cell is resolved
    when it differs, or, where the study has a margin, is equivalent; `statistics.looking` says how looking more than
    once is corrected for. The further arguments are those of `ablate`.

    Raises:
        UsageError: as `ablate`; `most` is less than the study's seeds; the folder was begun with another plan.
    """
    study = looking(study, most)
    if not study.looks:
        return ablate(experiment, study, workdir, options, execution, **flags), ""
    flags["wait"] = True
    again, accept = "changed" in flags.get("retry", ()), options is not None and options.accept_code_change
    store = prepared(workdir, experiment, study, again=again, accept=accept)
    for seeds in study.looks:
        if seeds >= store.study.seeds:
            look = dataclasses.replace(study, seeds=seeds)
            store = ablate(experiment, look, workdir, options, execution, **flags)
            if "open" not in verdicts_so_far(store).values():
                break
    named = "; ".join(f"{name}: {verdict}" for name, verdict in verdicts_so_far(store).items())
    return store, f"looks at {', '.join(map(str, study.looks))} seeds: {named}"


def verdicts_so_far(store: Store) -> dict[str, str]:
    """Return "different", "equivalent" or "open" for each cell by name, as far as the seeds of a plan go."""
    from research.ablation.statistics.looking import resolved  # declaring a study takes no SciPy

    values: dict[int, dict[int, float]] = {cell.index: {} for cell in store.cells()}
    for outcome in store.outcomes():
        if outcome.phase == "final" and outcome.status in ("done", "diverged", "failed"):
            metrics = outcome.metrics.get(store.study.split, {})
            finite = outcome.status == "done"
            values[outcome.cell][outcome.seed] = metrics.get(store.goal.metric, math.nan) if finite else math.nan
    baseline, *others = store.cells()
    verdicts = resolved(
        values[baseline.index],
        [values[cell.index] for cell in others],
        store.study.looks,
        store.study.alpha,
        store.study.margin,
    )
    return {cell.name: verdict for cell, verdict in zip(others, verdicts, strict=True)}
