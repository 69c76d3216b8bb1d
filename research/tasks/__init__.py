"""What is learned: forward pass, loss, metrics and predictions."""

from research.tasks.classification import Classification
from research.tasks.task import Task

__all__ = ["Classification", "Task"]
