"""The same network reads MNIST from 3,500 training images.

Claim    With shifts of two pixels, 3,500 images are enough for an error of about two percent.
Command  python -m experiments.mnist5k_cnn
Cost     67 s (`seconds.total` in result.json, so without imports) on two cores of a shared x86-64 virtual machine.
Result   test accuracy 0.9826, 95 % t interval 0.9786 to 0.9866 (seeds 0 to 4; commit fe8e658).
"""

from research.cli import main
from research.data import Images
from research.experiment import Experiment
from research.models import CNN
from research.optimization import Optimizer
from research.tasks import Classification

experiment = Experiment(
    model=CNN(channels=(32, 64), dense=(128,), dropout=0.3),
    task=Classification(),
    data=Images("mnist5k", mean=(0.132,), std=(0.309,), shift=2),
    optimizer=Optimizer("adamw", learning_rate=2e-3, schedule="cosine", warmup=100, weight_decay=1e-2),
    steps=1000,
    batch_size=128,
)

smoke = {
    "steps": 6,
    "batch_size": 16,
    "model.channels": (4, 8),
    "model.dense": (16,),
    "optimizer.warmup": 2,
    "data.train": "train[:256]",
    "data.validation": "validation[:64]",
    "data.test": "test[:64]",
}

if __name__ == "__main__":
    main(experiment, smoke=smoke, file=__file__, doc=__doc__)
