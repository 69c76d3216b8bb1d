"""Whether the runs of a study will give the metrics that it names."""

from collections.abc import Iterable

from research.ablation.design.study import Cell, Study
from research.errors import UsageError, suggestion
from research.training import metric_names


def check_metrics(cells: Iterable[Cell], study: Study) -> None:
    """Raise `UsageError`, naming the closest, where a cell's task gives no such metric; computes nothing.

    What every task gives, its monitor and the loss, is not asked for.
    """
    asked = [name for name in (study.metric, *study.metrics) if name is not None]
    seen = set()
    for cell in cells:
        task = cell.experiment.task
        if task in seen or not set(asked) - {task.monitor, "loss"}:
            continue
        seen.add(task)
        names = metric_names(cell.experiment)
        for name in asked:
            if names and name not in names:
                raise UsageError(f'{cell.name} has no metric "{name}"{suggestion(name, names)}')
