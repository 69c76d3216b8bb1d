"""A run with a reference: what tests of frozen networks are tried on."""

from research.experiment import Experiment, replace
from research.tasks import Distillation


def pupil(experiment: Experiment, steps: int = 2) -> Experiment:
    """Return a run that learns from a narrower one of so many steps."""
    teacher = replace(experiment, {"model.channels": (2, 3), "model.dropout": 0.0, "steps": steps, "seed": 21})
    return replace(
        experiment, {"task": Distillation(temperature=2.0, share=0.5), "references": (("teacher", teacher),)}
    )
