"""A small vision Transformer reads MNIST from 3,500 training images.

Claim    Patches of four pixels, two-dimensional sines for their places and no dropout are enough for a Transformer of
         202 thousand parameters to read more than 96 of 100 digits right after 3,500 images, though it knows nothing of
         neighbourhoods.
Command  python -m experiments.mnist5k_vit
Cost     173 to 202 s of `seconds.total` on two cores of a shared x86-64 virtual machine, other work beside it.
Result   test accuracy 0.973, 95 % t interval 0.953 to 0.992 (seeds 0 to 2: 0.964, 0.975, 0.979; commit 66e1de0).
"""

from research.cli import main
from research.data import Images
from research.experiment import Experiment
from research.models import ViT
from research.optimization import Optimizer
from research.tasks import Classification

experiment = Experiment(
    model=ViT(patch=4, layers=4, width=64, heads=4, positions="sinusoidal_2d", pooling="mean"),
    task=Classification(label_smoothing=0.1),
    data=Images("mnist5k", mean=(0.132,), std=(0.309,), shift=2),
    optimizer=Optimizer("adamw", learning_rate=3e-3, schedule="cosine", warmup=200, weight_decay=5e-2, clip_norm=1.0),
    steps=2000,
    batch_size=64,
)

smoke = {
    "steps": 6,
    "batch_size": 16,
    "model.layers": 1,
    "model.width": 16,
    "model.heads": 2,
    "optimizer.warmup": 2,
    "data.train": "train[:256]",
    "data.validation": "validation[:64]",
    "data.test": "test[:64]",
}

if __name__ == "__main__":
    main(experiment, smoke=smoke, file=__file__, doc=__doc__)
