"""The command `power`: how many seeds it takes to see a difference."""

import dataclasses
from typing import Annotated

import tyro

from research.ablation.store.study_folder import Store, check_unscreened
from research.fields import Positive


@dataclasses.dataclass(frozen=True)
class Power:
    """Say how many seeds it takes to see a difference of a given size, judged by the baseline's seeds so far."""

    workdir: str
    """Folder of the study."""
    effect: Positive
    """Smallest mean difference worth finding, in units of the metric."""
    target: Annotated[float, tyro.conf.arg(metavar="FLOAT")] = 0.8
    """Chance of finding it."""


def power(arguments: Power, known: set[type]) -> None:
    """Print how many seeds it takes."""
    import numpy as np

    from research.ablation.report import tabulate
    from research.ablation.statistics.power import forecast

    store = Store(arguments.workdir, known)
    check_unscreened(store.root)
    metric, _ = store.goal
    values = [
        outcome.metrics[store.study.split][metric]
        for outcome in store.outcomes()
        if outcome.phase == "final" and outcome.cell == 0 and outcome.status == "done"
    ]
    tests = max(len(store.cells()) - 1, 1)
    alpha = store.study.alpha / tests
    print(
        f"{store.study.split} {metric} of the baseline: mean {np.mean(values):.5g}, standard deviation "
        f"{np.std(values, ddof=1):.3g} over {len(values)} seeds"
        if len(values) > 1
        else f"{len(values)} seeds of the baseline are done"
    )
    entries = [row.entries[0] for row in tabulate(store)[0].rows]
    found = [entry.comparison.correlation for entry in entries if entry is not None and entry.comparison is not None]
    found = [correlation for correlation in found if np.isfinite(correlation)]
    cases = {"if pairing does not help": 0.0}
    if found:
        median = float(np.median(found))
        cases[f"with the correlation over seeds found so far, {median:.2f}"] = min(median, 0.99)
    for case, correlation in cases.items():
        needed = forecast(values, arguments.effect, correlation, arguments.target, alpha)
        low, high = needed.seeds_interval
        print(
            f"{case}: {needed.seeds} seeds find a difference of {arguments.effect:g} with a chance of "
            f"{arguments.target:g} at alpha {store.study.alpha:g} over {tests} cells; between {low} and {high}, as a "
            f"standard deviation from {len(values)} seeds is uncertain"
        )
