"""A residual network learns CIFAR-10 (Krizhevsky, 2009) with shifts, mirror images and cutout.

Claim    none measured: ResNet-18 of half the width, shifts, mirror images and momentum as in He et al. (2016, section
         4.2), Nesterov's, with a cosine schedule and cutout (DeVries and Taylor, 2017).
Command  python -m experiments.cifar10_resnet
         `python -m research.data prepare cifar10` goes before it, once. With --smoke nothing does: the same path then
         runs on "coloured_shapes", which is drawn where it is used.
Cost     not measured here: the dataset needs a download. 10,000 steps are 28 epochs of 45,000 images.
Result   not measured here: the dataset needs a download.
"""

from research.cli import main
from research.data import Images
from research.experiment import Experiment
from research.models import ResNet
from research.optimization import Optimizer
from research.tasks import Classification

experiment = Experiment(
    model=ResNet(blocks=(2, 2, 2, 2), width=32, stem="small"),
    task=Classification(label_smoothing=0.1),
    data=Images("cifar10", mean=(0.4914, 0.4822, 0.4465), std=(0.247, 0.2435, 0.2616), shift=4, flip=True, cutout=8),
    optimizer=Optimizer("nesterov", learning_rate=0.1, schedule="cosine", warmup=500, l2=5e-4),
    steps=10_000,
    batch_size=128,
)

smoke = {
    "data.name": "coloured_shapes",
    "steps": 6,
    "batch_size": 16,
    "model.blocks": (1,),
    "model.width": 4,
    "optimizer.warmup": 2,
    "data.train": "train[:256]",
    "data.validation": "validation[:64]",
    "data.test": "test[:64]",
}

if __name__ == "__main__":
    main(experiment, smoke=smoke, file=__file__, doc=__doc__)
