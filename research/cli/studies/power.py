"""The command `power`: how many seeds it takes to see a difference."""

import dataclasses
import math
from typing import Annotated

import tyro

from research.ablation.design.metrics import check_metrics
from research.ablation.store.study_folder import Store
from research.cli.tables import console, plain
from research.fields import Positive


@dataclasses.dataclass(frozen=True)
class Power:
    """Say how many seeds it takes to see a difference of a given size, in each cell, judged by the seeds so far."""

    workdir: str
    """Folder of the study."""
    effect: Positive
    """Smallest mean difference worth finding, in units of the metric."""
    target: Annotated[float, tyro.conf.arg(metavar="FLOAT")] = 0.8
    """Chance of finding it."""
    smoke: bool = False
    """Taken as by every command; the folder says what it holds."""


def power(arguments: Power, known: set[type]) -> None:
    """Print how many seeds it takes: of a cell that is not paired with the baseline, and of each cell as it is."""
    from research.ablation.report import tabulate
    from research.ablation.statistics.power import Forecast, forecast, forecast_of

    store = Store(arguments.workdir, known)
    check_metrics(store.cells(), store.study)
    found = tabulate(store)[0]
    entries = [(row.name, entry) for row in found.rows if (entry := row.entries[0]) is not None]
    (_, baseline), *others = entries
    tests = max(len(others), 1)
    alpha = store.study.alpha / tests
    print(
        f"{store.study.split} {store.goal.metric} of the baseline: mean {baseline.mean:.5g}, standard deviation "
        f"{baseline.sd:.3g} over {baseline.n} seeds"
        if baseline.n > 1
        else f"{baseline.n} seeds of the baseline are done"
    )
    if baseline.sd != 0:  # else the cells alone say how differences spread
        unpaired = forecast(list(baseline.values.values()), arguments.effect, 0.0, arguments.target, alpha)
        low, high = unpaired.seeds_interval
        print(
            f"if pairing does not help: {unpaired.seeds} seeds find a difference of {arguments.effect:g} with a chance "
            f"of {arguments.target:g} at alpha {store.study.alpha:g} over {tests} cells; between {low} and {high}, as "
            f"a standard deviation from {baseline.n} seeds is uncertain"
        )
    needed: dict[str, Forecast] = {}
    for name, entry in others:
        if entry.comparison is not None and math.isfinite(entry.difference_sd) and entry.difference_sd > 0:
            pairs = entry.comparison.n
            needed[name] = forecast_of(entry.difference_sd, pairs, arguments.effect, arguments.target, alpha)
    if not needed:
        return
    shown = plain("variant", "seeds needed", "between", "standard deviation of the differences so far")
    for name, of_cell in needed.items():
        low, high = of_cell.seeds_interval
        shown.add_row(name, str(of_cell.seeds), f"{low} and {high}", f"{of_cell.sd:.3g}")
    console().print(shown)
    most = max(needed, key=lambda name: needed[name].seeds)
    print(f"every cell that can be judged so far: {needed[most].seeds} seeds, which {most} needs")
