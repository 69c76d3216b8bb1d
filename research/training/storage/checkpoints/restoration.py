"""From a run folder back to its experiment and state."""

from pathlib import Path

from research.devices import ONE_DEVICE, lay_out
from research.errors import RunError
from research.experiment import Experiment, Placement
from research.training.storage.checkpoints.checkpoint import Checkpoints, Kind
from research.training.storage.folder import Folder
from research.training.update.shapes import abstract_state
from research.training.update.state import TrainState


def restore(
    workdir: str | Path,
    checkpoint: Kind = "latest",
    known: set[type] | None = None,
    placement: Placement | None = None,
) -> tuple[Experiment, TrainState]:
    """Return the experiment and the state saved in a run folder; needs no code but this.

    Args:
        workdir: the folder of the run, saved from any devices.
        checkpoint: the last state, or the one that did best on validation.
        known: adds classes of your own to those that experiment.json may name.
        placement: over which devices the state is to lie; None puts it on one.

    Raises:
        UsageError: the placement does not fit.
        RunError: this is no run folder, nothing is saved yet, or everything saved is damaged.
    """
    folder = Folder(workdir)
    experiment = folder.read_experiment(known)
    if not (folder.checkpoints / checkpoint).is_dir():
        raise RunError(f"{folder.root} has no {checkpoint} checkpoint yet; train it first")
    with Checkpoints(folder.checkpoints, read_only=True, experiment=experiment) as checkpoints:
        layout = ONE_DEVICE if placement is None else lay_out(experiment, placement, trains=False).jitted()
        restored = checkpoints.restore(checkpoint, abstract_state(experiment), layout)
    if restored is None:
        raise RunError(f"{folder.root} has no {checkpoint} checkpoint yet; train it first")
    return experiment, restored.state
