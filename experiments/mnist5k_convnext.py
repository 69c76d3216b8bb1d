"""A small ConvNeXt reads MNIST from 3,500 training images.

Claim    TO MEASURE
Command  python -m experiments.mnist5k_convnext
"""

from research.cli import main
from research.data import Images
from research.experiment import Experiment
from research.models import ConvNeXt
from research.optimization import Optimizer
from research.tasks import Classification

experiment = Experiment(
    model=ConvNeXt(channels=(32, 64), blocks=(2, 2), layer_scale=0.1, stochastic_depth=0.1),
    task=Classification(label_smoothing=0.1),
    data=Images("mnist5k", mean=(0.132,), std=(0.309,), shift=2),
    optimizer=Optimizer("adamw", learning_rate=4e-3, schedule="cosine", warmup=100, weight_decay=5e-2),
    steps=1000,
    batch_size=128,
)

smoke = {
    "steps": 6,
    "batch_size": 16,
    "model.channels": (4, 8),
    "model.blocks": (1, 1),
    "optimizer.warmup": 2,
}

if __name__ == "__main__":
    main(experiment, smoke=smoke, file=__file__, doc=__doc__)
