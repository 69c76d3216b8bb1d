"""Adding seeds until every cell is resolved, with the looks fixed beforehand and corrected for."""

import dataclasses
import math
from pathlib import Path
from typing import Any

from research.ablation.design.study import Study
from research.ablation.execution.choosing import Execution
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


def ablate_until_resolved(
    experiment: Experiment,
    study: Study,
    most: int,
    workdir: str | Path,
    options: RunOptions | None = None,
    execution: Execution = "auto",
    **flags: Any,
) -> tuple[Store, str]:
    """Run a study, doubling its seeds from `study.seeds` to `most` until no cell is open; return store and a remark.

    With `most` equal to `study.seeds` this is `ablate`, and there is nothing to remark. A cell is resolved when it
    differs, or, where the study has a margin, is equivalent; `statistics.resolved` says how looking more than once is
    corrected for. The further arguments are those of `ablate`.

    Raises:
        UsageError: as `ablate`; `most` is less than the study's seeds.
    """
    planned = looks(study.seeds, most)
    if len(planned) == 1:
        return ablate(experiment, study, workdir, options, execution, **flags), ""
    flags["wait"] = True
    for seeds in planned:
        look = dataclasses.replace(study, seeds=seeds)
        store = ablate(experiment, look, workdir, options, execution, **flags)
        verdicts = verdicts_so_far(store, planned)
        if "open" not in verdicts.values():
            break
    named = "; ".join(f"{name}: {verdict}" for name, verdict in verdicts.items())
    return store, (
        f"Seeds were added while a cell was open, with looks at {', '.join(map(str, planned))} seeds fixed beforehand; "
        f"corrected for {len(planned)} looks (Bonferroni) and for the cells (Holm), by the permutation test: {named}."
    )


def verdicts_so_far(store: Store, planned: tuple[int, ...]) -> dict[str, str]:
    """Return "different", "equivalent" or "open" for each cell by name, as far as the seeds go."""
    from research.ablation.statistics.comparison import resolved

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
        planned,
        store.study.alpha,
        store.study.margin,
    )
    return {cell.name: verdict for cell, verdict in zip(others, verdicts, strict=True)}
