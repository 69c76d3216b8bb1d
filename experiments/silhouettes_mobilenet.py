"""MobileNet v2 tells ten animals apart by their silhouettes.

Claim    Inverted residuals and depthwise convolutions, 87 thousand parameters in all, name an animal by its outline in
         more than 95 of 100 cases.
Command  python -m experiments.silhouettes_mobilenet
         The images come from a package: pip install --no-deps animal-mnist==0.4
Cost     322 and 371 s of `seconds.total` on two cores of a shared x86-64 virtual machine, much other work beside it.
Result   test accuracy 0.972, the mean of seeds 0 and 1 (0.969, 0.975), 95 % Wilson interval over the 973 test images
         0.960 to 0.981 (commit 66e1de0).
"""

from research.cli import main
from research.data import Images
from research.experiment import Experiment
from research.models import MobileNetV2
from research.optimization import Optimizer
from research.tasks import Classification

experiment = Experiment(
    model=MobileNetV2(
        expansions=(1, 4, 4, 4),
        channels=(16, 24, 32, 64),
        blocks=(1, 2, 2, 2),
        strides=(1, 1, 2, 2),
        features=128,
        dropout=0.2,
    ),
    task=Classification(label_smoothing=0.1),
    data=Images("animal_silhouettes", mean=(0.274,), std=(0.406,), shift=2, flip=True),
    optimizer=Optimizer("adamw", learning_rate=3e-3, schedule="cosine", warmup=100, weight_decay=5e-2),
    steps=1000,
    batch_size=128,
)

smoke = {
    "steps": 6,
    "batch_size": 16,
    "model.expansions": (1, 2),
    "model.channels": (4, 6),
    "model.blocks": (1, 1),
    "model.strides": (1, 2),
    "model.features": 8,
    "optimizer.warmup": 2,
    "data.train": "train[:256]",
    "data.validation": "validation[:64]",
    "data.test": "test[:64]",
}

if __name__ == "__main__":
    main(experiment, smoke=smoke, file=__file__, doc=__doc__)
