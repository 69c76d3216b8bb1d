"""A split as a baseline sees it, and what the experiment's task says of its predictions."""

import functools
from collections.abc import Iterator

import jax
import numpy as np

from research.baselines.baseline import Columns, Examples, Fitted
from research.data import Data, Records, evaluation_batches
from research.experiment import Experiment
from research.tasks.task import Batch, Sums, Task
from research.training.evaluation import RunningSums, evaluation_size

PADDING = ("mask", "row")  # entries of an evaluation's batches that are no part of an example


def examples(data: Data, records: Records) -> Examples:
    """Return a whole split, prepared as for evaluation: every entry is [n, ...]."""
    parts = [{name: entry[batch["mask"]] for name, entry in batch.items()} for batch in _batches(data, records)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name not in PADDING}


def metrics(experiment: Experiment, fitted: Fitted, records: Records) -> dict[str, float]:
    """Return the task's metrics by name over every example of a split, each counted once.

    A batch is predicted and summed at a time, so predictions of the whole split are never in memory.

    Raises:
        UsageError: the predictions do not fit the task or the dataset.
    """
    task, sums = experiment.task, RunningSums(experiment.task)
    shapes = None
    for batch in _batches(experiment.data, records):
        columns = fitted.predict({name: entry for name, entry in batch.items() if name not in PADDING})
        if shapes is None:
            shapes = jax.eval_shape(task.outputs_from, columns, batch)
            task.check(experiment.data.schema(), shapes)
        sums.add(jax.device_get(_sums(task, columns, batch)))
    return task.summarize(sums.total())


@functools.partial(jax.jit, static_argnums=0)
def _sums(task: Task, columns: Columns, batch: Batch) -> Sums:
    """Return the task's sums over a padded batch."""
    return task.measure(task.outputs_from(columns, batch), batch)


def _batches(data: Data, records: Records) -> Iterator[Examples]:
    """Yield a split, prepared, in padded batches of one size."""
    prepare = jax.jit(data.preprocess)
    for batch in evaluation_batches(records, evaluation_size(records)):
        yield jax.device_get(prepare(batch))
