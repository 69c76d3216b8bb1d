"""What a person would look at when a run is done."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from research.data import Records
from research.experiment import Experiment, RunOptions
from research.training.state import TrainState

EXAMPLES = 256


def illustrate(
    experiment: Experiment, state: TrainState, records: Records, options: RunOptions, folder: Path
) -> dict[str, str]:
    """Let the task draw the first examples of a split into `folder`; return {file name: what it shows}."""
    raw = records[np.arange(min(EXAMPLES, len(records)))]
    batch = experiment.data.preprocess({name: jnp.asarray(array) for name, array in raw.items()})

    def readable(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Turn token ids into text."""
        return experiment.data.readable(columns, options.data_dir)

    return experiment.task.illustrate(experiment.model, state.evaluated, state.variables, batch, readable, folder)
