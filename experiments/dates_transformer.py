"""A Transformer reads dates in twelve languages and writes them as ISO 8601: the data of `dates_seq2seq`.

Claim    A Transformer of the same number of parameters as the LSTM of `dates_seq2seq` learns the same task as well, in
         twice the time.
Command  python -m experiments.dates_transformer
Cost     79 s of `seconds.total` on two cores of a shared x86-64 virtual machine.
Result   exact match 0.996 on 1,000 unseen dates, the mean of seeds 0 to 2 (0.993, 0.997, 0.997), 95 % Wilson interval
         over the dates 0.989 to 0.998 (commit 0dd389f).
"""

from research.ablation import Study, one_at_a_time
from research.cli import main
from research.data import Bucketed, Pairs, Trained
from research.experiment import Experiment
from research.models import TransformerSeq2Seq
from research.optimization import Optimizer
from research.tasks import SequenceToSequence

experiment = Experiment(
    model=TransformerSeq2Seq(source_vocabulary=80, target_vocabulary=16, layers=2, width=64, heads=4, max_length=40),
    task=SequenceToSequence(),
    data=Pairs("babel_dates", source_tokenizer=Trained("characters", 80), source_length=40, target_length=11),
    optimizer=Optimizer("adamw", learning_rate=2e-3, schedule="cosine", warmup=100, weight_decay=1e-2, clip_norm=1.0),
    steps=1500,
    batch_size=64,
)

smoke = {
    "steps": 10,
    "model.layers": 1,
    "model.width": 8,
    "model.heads": 2,
    "optimizer.warmup": 2,
    "data.train": "train[:500]",
    "data.validation": "validation[:64]",
    "data.test": "test[:64]",
}

studies = {
    "order": Study(
        one_at_a_time({"data.order": (Bucketed((16, 24)),)}),
        fixed={"steps": 400},
        seeds=3,
        description="Do batches of dates of about one length cost accuracy within 400 steps?",
    )
}

if __name__ == "__main__":
    main(experiment, smoke=smoke, studies=studies, file=__file__, doc=__doc__)
