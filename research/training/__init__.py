"""One run: state, step, loop, evaluation, prediction, checkpoints and journal."""

from research.training.checking import check
from research.training.evaluation import evaluate, predict
from research.training.folder import Result
from research.training.guard import Interrupted
from research.training.loop import train
from research.training.nonfinite import Diverged
from research.training.plan import plan
from research.training.predictions import write_predictions
from research.training.restoration import restore
from research.training.rollback import rollback
from research.training.state import TrainState, init
from research.training.step import eval_step, predict_step, train_step

__all__ = [
    "Diverged",
    "Interrupted",
    "Result",
    "TrainState",
    "check",
    "eval_step",
    "evaluate",
    "init",
    "plan",
    "predict",
    "predict_step",
    "restore",
    "rollback",
    "train",
    "train_step",
    "write_predictions",
]
