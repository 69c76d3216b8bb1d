"""A study of six trials, as each of the processes that share it runs it."""

import sys

from research.ablation import Study, one_at_a_time
from research.ablation.execution.running import ablate
from research.ablation.strategies.sequential import ablate_until_resolved
from research.data import Images
from research.experiment import Experiment, RunOptions
from research.models import CNN
from research.optimization import Optimizer
from research.tasks import Classification
from research.training import Interrupted

EXPERIMENT = Experiment(
    model=CNN(channels=(3,), dense=(7,), dropout=0.2),
    task=Classification(),
    data=Images("digits", noise=0.05),
    optimizer=Optimizer("adamw", learning_rate=0.02),
    steps=150,
    batch_size=17,
)
STUDY = Study(one_at_a_time({"optimizer.learning_rate": (0.05,), "model.dense": ((5,),)}), seeds=2)


def ablate_study(root: str, data_dir: str, execution: str) -> None:
    """Run the study in a way of execution, or "until resolved"; leave as a command does."""
    options = RunOptions(data_dir=data_dir, log_every=5, evaluate_every=50, checkpoint_every=40)
    try:
        if execution == "until resolved":
            print(ablate_until_resolved(EXPERIMENT, STUDY, 4, root, options, "loop")[1])
        else:
            ablate(EXPERIMENT, STUDY, root, options, execution)
    except Interrupted as error:
        print(error)
        sys.exit(75)
