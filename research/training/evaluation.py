"""Exact evaluation and prediction of a split."""

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from research.data import Records, Split, evaluation_batches
from research.devices import place
from research.experiment import Experiment, RunOptions, split
from research.training.state import TrainState
from research.training.step import eval_step, predict_step

BATCH_SIZE = 256  # decides speed and memory only: sums are exact over any batches


def evaluate(
    experiment: Experiment, state: TrainState, name: Split = "test", options: RunOptions | None = None
) -> dict[str, float]:
    """Return the task's metrics by name over every example of a split, each counted once."""
    return experiment.task.summarize(evaluation_sums(experiment, state, open_split(experiment, name, options)))


def predict(
    experiment: Experiment, state: TrainState, name: Split = "test", options: RunOptions | None = None
) -> dict[str, np.ndarray]:
    """Return `index`, `label` and what the task predicts, one row an example in dataset order."""
    records = open_split(experiment, name, options)
    rows: list[dict[str, np.ndarray]] = []
    for batch, output in _outputs(predict_step, experiment, state, records):
        row = {"label": batch["label"], **jax.device_get(output)}
        rows.append({name: np.asarray(column)[batch["mask"]] for name, column in row.items()})
    columns = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
    return {"index": np.arange(len(records)), **columns}


def open_split(experiment: Experiment, name: Split, options: RunOptions | None) -> Records:
    """Return a split of the experiment's dataset."""
    return experiment.data.open(name, options.data_dir if options else None)


def evaluation_sums(experiment: Experiment, state: TrainState, records: Records) -> Any:
    """Return the task's sums over all records: integers exactly, floats added up in float64 on the host."""
    sums = [jax.device_get(output) for _, output in _outputs(eval_step, experiment, state, records)]
    wide = [jax.tree.map(lambda x: x.astype(np.int64 if x.dtype.kind in "iu" else np.float64), part) for part in sums]
    return jax.tree.map(lambda *parts: sum(parts), *wide)


def _outputs(step: Any, experiment: Experiment, state: TrainState, records: Records) -> Iterator[tuple[Any, Any]]:
    """Yield each padded batch and what the compiled step makes of it."""
    program, hyperparameters = split(experiment)
    run = place(step, program)
    for batch in evaluation_batches(records, min(BATCH_SIZE, len(records))):
        yield batch, run(hyperparameters, state, batch)
