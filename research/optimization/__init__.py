"""How parameters are updated: optimizers and schedules that are safe to trace."""

from research.optimization.groups import Group
from research.optimization.optimizer import Optimizer
from research.optimization.schedules import Schedule, unit

__all__ = ["Group", "Optimizer", "Schedule", "unit"]
