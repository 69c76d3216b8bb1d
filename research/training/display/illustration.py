"""What a person would look at when a run is done."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from research.data import Batch, Records, Split, TrainingOrder
from research.devices import compile_for
from research.experiment import Experiment, RunOptions, split
from research.kernels.choice import forward_mode
from research.training.update.references import NONE, References, observed
from research.training.update.state import TrainState
from research.training.update.step import training_batch

EXAMPLES = 256


def illustrate(
    experiment: Experiment,
    state: TrainState,
    splits: dict[Split, Records],
    options: RunOptions,
    folder: Path,
    references: References = NONE,
) -> dict[str, str]:
    """Let data and task draw examples into `folder`; return {file name: what it shows}."""
    return {
        **experiment.data.preview(folder, options.data_dir),
        **illustrate_data(experiment, splits["train"], folder),
        **illustrate_task(experiment, state, splits["test"], options, folder, references),
    }


def illustrate_data(experiment: Experiment, records: Records, folder: Path) -> dict[str, str]:
    """Let the data draw the first training batch, and what the steps of this run make of it."""
    program, hyperparameters = split(dataclasses.replace(experiment, references=()))
    order = TrainingOrder(experiment.data, records, experiment.batch_size, experiment.seed)
    raw = _on_device(records, order.indices_at(0))

    def augmented(step: int) -> Batch:
        """Prepare the batch with the keys of a training step."""
        return compile_for(training_batch, program, once=True)(hyperparameters, step, raw)

    return experiment.data.illustrate(raw, augmented, folder)


def illustrate_task(
    experiment: Experiment,
    state: TrainState,
    records: Records,
    options: RunOptions,
    folder: Path,
    references: References = NONE,
) -> dict[str, str]:
    """Let the task draw the first examples of a split."""
    batch = experiment.data.preprocess(_on_device(records, np.arange(min(EXAMPLES, len(records)))))
    batch = observed(experiment, batch, references)

    def readable(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Turn token ids into text."""
        return experiment.data.readable(columns, options.data_dir)

    with forward_mode(experiment.forward_mode):
        return experiment.task.illustrate(experiment.model, state.evaluated, state.variables, batch, readable, folder)


def _on_device(records: Records, indices: np.ndarray) -> dict[str, jax.Array]:
    """Return some examples as a raw batch."""
    return {name: jnp.asarray(array) for name, array in records[indices].items()}
