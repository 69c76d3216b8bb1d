"""8 x 8 digits with a network a quarter as wide, which a trained one teaches.

Claim    Hinton et al. (2015) teach a small network by what a trained one says of every class. Here that gains nothing
         that eight seeds could show: the small network reads most digits without help.
Command  python -m experiments.digits_distill
Cost     8 s from start to finish with the training of the teacher, on two cores of a shared x86-64 virtual machine;
         `ablate` 4 minutes, other work beside it.
Result   test accuracy 0.955, 95 % t interval 0.947 to 0.962 (seeds 0 to 7, by `ablate`; commit b5bc4fb); from labels
         alone 0.954. Of six cells the largest difference to that is 0.008 [-0.001, 0.018], at temperature 16 and share
         0.5, Holm p 0.48.
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
