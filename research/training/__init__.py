"""One run: state, step, loop, evaluation, prediction, checkpoints and journal."""

from research.training.evaluation import evaluate, predict
from research.training.faults.guard import Interrupted
from research.training.faults.nonfinite import Diverged
from research.training.initialization.checking import check
from research.training.initialization.metrics import metric_names
from research.training.initialization.references import read_references
from research.training.loop import train
from research.training.storage.checkpoints.restoration import restore
from research.training.storage.folder import Result
from research.training.storage.predictions import write_predictions
from research.training.storage.rollback import rollback
from research.training.update.references import References
from research.training.update.state import TrainState, init
from research.training.update.step import eval_step, predict_step, train_step

__all__ = [
    "Diverged",
    "Interrupted",
    "References",
    "Result",
    "TrainState",
    "check",
    "eval_step",
    "evaluate",
    "init",
    "metric_names",
    "predict",
    "predict_step",
    "read_references",
    "restore",
    "rollback",
    "train",
    "train_step",
    "write_predictions",
]
