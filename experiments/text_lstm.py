"""An LSTM writes about the Python language: the data and the budget of `text_transformer`, another model.

Claim    With the same tokens, and a fifth more parameters, an LSTM reaches a lower loss than the Transformer within
         this budget.
Command  python -m experiments.text_lstm
Cost     134 s of `seconds.total` on two cores of a shared x86-64 virtual machine.
Result   test loss 1.399 nats a character, 95 % t interval 1.364 to 1.434, or 2.01 bits a byte (seeds 0 and 1; commit
         0dd389f); the Transformer 1.564 and 2.25, six-grams with Witten-Bell smoothing 1.529 and 2.20 (commit 681d898).
"""

from experiments.baselines.ngrams import NGrams
from research.cli import main
from research.data import Text, Trained
from research.experiment import Experiment
from research.models import RecurrentLanguageModel
from research.optimization import Optimizer
from research.tasks import LanguageModeling

experiment = Experiment(
    model=RecurrentLanguageModel(vocabulary=112, embedding=128, hidden=256, layers=2, cell="lstm"),
    task=LanguageModeling(),
    data=Text("pydoc_topics", tokenizer=Trained("characters", 112), length=64),
    optimizer=Optimizer(
        "adamw", learning_rate=3e-3, schedule="cosine", warmup=100, floor=0.1, b2=0.99, weight_decay=0.1, clip_norm=1.0
    ),
    steps=2000,
    batch_size=12,
)

smoke = {"steps": 10, "model.layers": 1, "model.hidden": 16, "model.embedding": 8, "optimizer.warmup": 2}

baselines = {"six_grams": NGrams(vocabulary=112, order=6)}

if __name__ == "__main__":
    main(experiment, smoke=smoke, baselines=baselines, file=__file__, doc=__doc__)
