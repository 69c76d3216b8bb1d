"""What is learned: forward pass, loss, metrics and predictions."""

from research.tasks.classification import Classification
from research.tasks.distillation import Distillation
from research.tasks.forecasting import Forecasting
from research.tasks.language_modeling import LanguageModeling
from research.tasks.masked_language_modeling import MaskedLanguageModeling
from research.tasks.multi_label import MultiLabel
from research.tasks.regression import Regression
from research.tasks.sequence_to_sequence import SequenceToSequence
from research.tasks.task import Task

__all__ = [
    "Classification",
    "Distillation",
    "Forecasting",
    "LanguageModeling",
    "MaskedLanguageModeling",
    "MultiLabel",
    "Regression",
    "SequenceToSequence",
    "Task",
]
