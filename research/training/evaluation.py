"""Exact evaluation and prediction of a split."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from research.data import Records, Split, evaluation_batches
from research.devices import ONE_DEVICE, Layout, compile_for, lay_out
from research.errors import UsageError
from research.experiment import Experiment, Placement, RunOptions, split
from research.tasks import Task
from research.training.update.references import NONE, References
from research.training.update.state import TrainState
from research.training.update.step import eval_step, predict_step

# Columns that a person reads first; the compiled step gives them in alphabetical order.
FIRST = ("time", "source", "prompt", "target", "label", "labels", "prediction")
BATCH_SIZE = 256  # decides speed and memory only: sums are exact over any batches


def evaluate(
    experiment: Experiment,
    state: TrainState,
    name: Split = "test",
    options: RunOptions | None = None,
    references: References = NONE,
) -> dict[str, float]:
    """Return the task's metrics by name over every example of a split, each counted once.

    `references` are those of an experiment that has some, as `read_references` returns them.
    """
    layout = lay_out(experiment, options.placement if options else Placement(), trains=False).jitted()
    records = open_split(experiment, name, options)
    return experiment.task.summarize(evaluation_sums(experiment, layout.put(state), records, layout, references))


def predict(
    experiment: Experiment,
    state: TrainState,
    name: Split = "test",
    options: RunOptions | None = None,
    references: References = NONE,
) -> dict[str, np.ndarray]:
    """Return `index` and the task's columns, one row an example in dataset order, with token ids turned into text."""
    layout = lay_out(experiment, options.placement if options else Placement(), trains=False).jitted()
    records = open_split(experiment, name, options)
    parts: list[dict[str, np.ndarray]] = []
    for count, output in _outputs(predict_step, experiment, layout.put(state), records, layout, references):
        parts.append({name: column[:count] for name, column in jax.device_get(output).items()})
    names = sorted(parts[0], key=lambda name: FIRST.index(name) if name in FIRST else len(FIRST))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in names}
    readable = experiment.data.readable(columns, options.data_dir if options else None)
    return {"index": np.arange(len(records)), **readable}


def open_split(experiment: Experiment, name: Split, options: RunOptions | None) -> Records:
    """Return a split of the experiment's dataset, whose labels are those that it says there are.

    A label of -1 would count as the last class, and one past the last make the loss NaN.
    """
    records = experiment.data.open(name, options.data_dir if options else None)
    return records.within(experiment.data.schema().ranges())


def evaluation_sums(
    experiment: Experiment,
    state: TrainState,
    records: Records,
    layout: Layout = ONE_DEVICE,
    references: References = NONE,
) -> Any:
    """Return the task's sums over all records."""
    sums = RunningSums(experiment.task)
    for _, output in _outputs(eval_step, experiment, state, records, layout, references):
        sums.add(jax.device_get(output))
    return sums.total()


class RunningSums:
    """The sums of several batches as one: integers exactly, floats added up in float64.

    What the task calls `concatenated` is not added: the rows of all batches follow each other. A batch's own sums are
    not kept: of many classes they hold a large matrix.
    """

    def __init__(self, task: Task) -> None:
        self._rows: dict[str, list[Any]] = {name: [] for name in task.concatenated}
        self._total: dict[str, Any] = {}
        self._names: list[str] = []

    def add(self, sums: Any) -> None:
        """Add those of a batch, arrays on the host."""
        self._names = list(sums)
        for name, item in sums.items():
            if name in self._rows:
                self._rows[name].append(_wide(item))
            elif name in self._total:
                jax.tree.map(_add_to, self._total[name], item)
            else:
                self._total[name] = jax.tree.map(_wide, item)

    def total(self) -> dict[str, Any]:
        """Return the sums of all that was added."""
        return {
            name: np.concatenate(self._rows[name]) if name in self._rows else self._total[name] for name in self._names
        }


def _wide(x: np.ndarray) -> np.ndarray:
    """Return a copy of integers as int64 and of floats, bfloat16 too, as float64."""
    return np.array(x, np.int64 if np.asarray(x).dtype.kind in "iub" else np.float64)


def _add_to(total: np.ndarray, x: np.ndarray) -> None:
    """Add to a total in place."""
    total += x if np.asarray(x).dtype.kind in "iub" else np.asarray(x, np.float64)


def _outputs(
    step: Any, experiment: Experiment, state: TrainState, records: Records, layout: Layout, references: References
) -> Iterator[tuple[int, Any]]:
    """Yield how many examples a padded batch has, which come first, and what the compiled step makes of it."""
    for name, _ in experiment.references:
        if name not in references:
            raise UsageError(f'the reference "{name}" is not given: hand over what read_references returns')
    program, hyperparameters = split(experiment)
    run, size = compile_for(step, program, layout), evaluation_size(records, layout.parts)
    batches = evaluation_batches(records, size, layout.rows(size))
    for start, batch in zip(range(0, len(records), size), batches, strict=True):
        yield min(size, len(records) - start), run(hyperparameters, state, layout.feed(batch), references)


def evaluation_size(records: Records, parts: int = 1) -> int:
    """Return the examples of a batch: a multiple of `parts`, and of them a power of two where there are few.

    So splits of about the same size share one compiled program.
    """
    return -(-min(BATCH_SIZE, 1 << (len(records) - 1).bit_length()) // parts) * parts
