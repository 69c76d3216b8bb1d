"""The pictures that a run ends with: its learning curves, and what its data and its task draw."""

from research.data import Records, Split
from research.errors import UsageError
from research.experiment import Experiment, RunOptions
from research.training.display.curves import draw_curves
from research.training.display.illustration import illustrate
from research.training.storage.files import writing
from research.training.storage.folder import Folder
from research.training.storage.journal import read
from research.training.update.references import References
from research.training.update.state import TrainState


def draw(
    experiment: Experiment,
    state: TrainState,
    records: dict[Split, Records],
    options: RunOptions,
    folder: Folder,
    references: References,
) -> dict[str, str]:
    """Draw into a run's folder; return {file name: what it shows}.

    Raises:
        UsageError: a task or data names a file that is none in the folder.
        RunError: the folder cannot be written.
    """
    with writing(folder.root):
        draw_curves(read(folder.metrics), experiment.task.headline, folder.curves)
        drawn = illustrate(experiment, state, records, options, folder.root, references)
    try:
        folder.check_names(drawn)
    except ValueError as error:  # a task or data of the user's; the message says which name
        raise UsageError(f"{error}; mend `illustrate` of the task or the data, or turn pictures off") from error
    return drawn
