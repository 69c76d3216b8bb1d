"""A small GPT writes about the Python language.

Claim    The laptop recipe of nanoGPT (four layers of width 128, context 64, 2,000 steps of 12 windows) learns to write
         English words and the layout of reference manuals from 370 thousand characters.
Command  python -m experiments.text_transformer
Cost     141 s of `seconds.total` on two cores of a shared x86-64 virtual machine, other work beside it.
Result   test loss 1.564 nats a character, 95 % t interval 1.540 to 1.589, or 2.25 bits a byte (seeds 0 to 2; commit
         7ada7d7). Six-grams with Witten-Bell smoothing, 1.529 nats or 2.20 bits (commit 681d898), are better than that
         within this budget. The same recipe in PyTorch: `python -m benchmarks.nanogpt`.
"""

from experiments.baselines.ngrams import NGrams
from research.ablation import Study, one_at_a_time
from research.cli import main
from research.data import Text, Trained
from research.experiment import Experiment
from research.models import TransformerLanguageModel
from research.optimization import Optimizer
from research.tasks import LanguageModeling

experiment = Experiment(
    model=TransformerLanguageModel(
        vocabulary=112,
        layers=4,
        width=128,
        heads=4,
        max_length=64,
        positions="learned",
        bias=False,
        initialization="scaled_normal",
    ),
    task=LanguageModeling(),
    data=Text("pydoc_topics", tokenizer=Trained("characters", 112), length=64),
    optimizer=Optimizer(
        "adamw", learning_rate=1e-3, schedule="cosine", warmup=100, floor=0.1, b2=0.99, weight_decay=0.1, clip_norm=1.0
    ),
    steps=2000,
    batch_size=12,
)

smoke = {"steps": 10, "model.layers": 1, "model.width": 16, "model.heads": 2, "optimizer.warmup": 2}

studies = {
    "architecture": Study(
        one_at_a_time(
            {
                "model.positions": ("none", "sinusoidal", "rotary", "alibi", "relative"),
                "model.heads": (1, 8),
                "model.norm_placement": ("post",),
                "model.feed_forward": ("relu", "swiglu"),
                "model.tied": (False,),
                "model.residual": (False,),
                "optimizer.warmup": (0,),
            }
        ),
        fixed={"steps": 500},
        seeds=5,
        metric="loss",
        description="Which choices of a small GPT matter within 500 steps?",
    )
}

baselines = {"six_grams": NGrams(vocabulary=112, order=6)}

if __name__ == "__main__":
    main(experiment, smoke=smoke, studies=studies, baselines=baselines, file=__file__, doc=__doc__)
