"""8 x 8 digits with a network a quarter as wide, which a trained one teaches.

Claim    A small network learns more from what a trained one says of every class than from labels alone (Hinton et al.,
         2015).
Command  python -m experiments.digits_distill
Cost     to be measured
Result   to be measured
"""

from experiments import digits_cnn
from research.ablation import Study, grid
from research.cli import main
from research.experiment import Experiment, replace
from research.tasks import Distillation

teacher = digits_cnn.experiment

experiment = Experiment(
    model=replace(teacher.model, {"channels": (8, 16), "dense": (32,)}),
    task=Distillation(temperature=4.0, share=0.9),
    data=teacher.data,
    optimizer=teacher.optimizer,
    steps=teacher.steps,
    batch_size=teacher.batch_size,
    references=(("teacher", teacher),),
)

smoke = {
    **digits_cnn.smoke,
    "model.channels": (2, 4),
    "model.dense": (4,),
    **{f"references.0.1.{path}": value for path, value in digits_cnn.smoke.items()},
}

studies = {
    "teaching": Study(
        grid({"task.share": (0.5, 0.9), "task.temperature": (1.0, 4.0, 16.0)}),
        fixed={"task.share": 0.0},
        seeds=8,
        description="How much does a teacher help, and at which temperature? The baseline learns from labels alone.",
    )
}

if __name__ == "__main__":
    main(experiment, smoke=smoke, studies=studies, file=__file__, doc=__doc__)
