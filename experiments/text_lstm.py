"""An LSTM writes about the Python language: the data and the budget of `text_transformer`, another model.

Claim    to be measured
Command  python -m experiments.text_lstm
Cost     to be measured
Result   to be measured
"""

from research.cli import main
from research.data import Text
from research.experiment import Experiment
from research.models import RecurrentLanguageModel
from research.optimization import Optimizer
from research.tasks import LanguageModeling

experiment = Experiment(
    model=RecurrentLanguageModel(vocabulary=112, embedding=128, hidden=256, layers=2, cell="lstm"),
    task=LanguageModeling(),
    data=Text("pydoc_topics", tokenizer="characters", vocabulary_size=112, length=64),
    optimizer=Optimizer(
        "adamw", learning_rate=3e-3, schedule="cosine", warmup=100, floor=0.1, b2=0.99, weight_decay=0.1, clip_norm=1.0
    ),
    steps=2000,
    batch_size=12,
)

smoke = {"steps": 10, "model.layers": 1, "model.hidden": 16, "model.embedding": 8, "optimizer.warmup": 2}

if __name__ == "__main__":
    main(experiment, smoke=smoke, file=__file__, doc=__doc__)
