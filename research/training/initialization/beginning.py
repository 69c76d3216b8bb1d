"""A run before its first step."""

from pathlib import Path

from research.experiment import Experiment, RunOptions
from research.training import identity
from research.training.initialization.checking import check
from research.training.initialization.start import first_state
from research.training.storage.checkpoints.checkpoint import Checkpoints
from research.training.storage.environment import environment
from research.training.storage.folder import Folder
from research.training.update.state import TrainState


def begin(experiment: Experiment, workdir: str | Path, options: RunOptions | None = None) -> TrainState:
    """Write the folder of a run with its state before the first step, and return that; `train` continues from there.

    A folder in which the run has got further is left as it is, and its latest state returned.

    Raises:
        UsageError, RunError: as for `train`; also where the experiment begins with a run that is not there.
    """
    options = options or RunOptions()
    folder = Folder(workdir)
    folder.check(experiment)
    shapes = check(experiment, begun=folder.checkpoints.exists())
    code = identity.check(experiment, folder, options.accept_code_change)
    with folder.claimed():
        folder.create(experiment, environment(), experiment.data.files(options.data_dir))
        identity.record(folder, code)
        with Checkpoints(folder.checkpoints, options.keep, experiment=experiment) as checkpoints:
            saved = checkpoints.restore("latest", shapes.state)
            if saved is not None:
                return saved.state
            state = first_state(experiment, folder.root, options)
            checkpoints.save("latest", state)
            return state
