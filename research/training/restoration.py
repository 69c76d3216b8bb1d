"""From a run folder back to its experiment and state."""

from pathlib import Path

from research.errors import RunError
from research.experiment import Experiment
from research.training.checkpoint import Checkpoints, Kind
from research.training.folder import Folder
from research.training.state import TrainState, abstract_state


def restore(
    workdir: str | Path, checkpoint: Kind = "latest", known: set[type] | None = None
) -> tuple[Experiment, TrainState]:
    """Return the experiment and the state saved in a run folder; needs no code but this.

    `known` adds classes of your own to those that experiment.json may name.

    Raises:
        RunError: this is no run folder, nothing is saved yet, or everything saved is damaged.
    """
    folder = Folder(workdir)
    experiment = folder.read_experiment(known)
    if not (folder.checkpoints / checkpoint).is_dir():
        raise RunError(f"{folder.root} has no {checkpoint} checkpoint yet; train it first")
    with Checkpoints(folder.checkpoints, read_only=True) as checkpoints:
        restored = checkpoints.restore(checkpoint, abstract_state(experiment))
    if restored is None:
        raise RunError(f"{folder.root} has no {checkpoint} checkpoint yet; train it first")
    return experiment, restored[0]
