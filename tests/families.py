"""A run of a second or so for every model there is, with all on that draws random numbers: what a promise is tried on.

FAMILIES = {"CNN": Experiment(...), ...}    # by the name of the model's class, and variants of it as "CNN, of what"

Everything is made of data that is packaged, and of a few examples of it.
"""

import flax.linen as nn

from research import models
from research.data import Images, LabelledText, Pairs, Sentences, Sequences, Series, Spans, Text, Trained
from research.experiment import Experiment
from research.models import (
    CNN1D,
    MLP,
    BertClassifier,
    BertPretraining,
    RecurrentClassifier,
    RecurrentLanguageModel,
    Seq2Seq,
    TextCNN,
    TransformerClassifier,
    TransformerLanguageModel,
    TransformerSeq2Seq,
)
from research.models.text.gpt2 import gpt2
from research.models.text.t5 import t5
from research.optimization import Optimizer
from research.tasks import (
    Classification,
    Forecasting,
    LanguageModeling,
    MaskedLanguageModeling,
    SequenceToSequence,
)
from tests.models.images.test_image_models import SMALL

FEW = {"train": "train[:40]", "validation": "validation[:16]", "test": "test[:16]"}
OPTIMIZER = Optimizer("adamw", learning_rate=0.01, warmup=2, weight_decay=0.01, clip_norm=1.0, ema=0.8)
IMAGES = Images("digits", size=28, shift=1, noise=0.05, **FEW)
DOCSTRINGS = LabelledText("stdlib_docstrings", tokenizer=Trained("wordpiece", 300), length=13, **FEW)
SENTENCES = Sentences("stdlib_docstrings", tokenizer=Trained("wordpiece", 300), length=13, **FEW)
TOPICS = Text("pydoc_topics", length=13, train="train[:4]", validation="validation[:2]", test="test[:2]")
PACKED = Text(
    "stdlib_docstrings", tokenizer=Trained("bpe", 300), length=13, jitter=False, packed=True,
    train="train[:12]", validation="validation[:6]", test="test[:9]",
)  # fmt: skip
SPANS = Spans("stdlib_docstrings", tokenizer=Trained("bpe", 300), length=13, rate=0.4, span=2.0, **FEW)
DATES = Pairs("babel_dates", source_tokenizer=Trained("characters", 80), target_length=11, **FEW)
VOWELS = Sequences("japanese_vowels", noise=0.1, **FEW)
SUNSPOTS = Series("sunspots", window=7, season=3)
BLOCKS = {"layers": 1, "width": 8, "heads": 2, "dropout": 0.1}
ATTENTION = {**BLOCKS, "attention_dropout": 0.1, "stochastic_depth": 0.1, "final_dropout": 0.1}
RECURRENT = {"hidden": 5, "dropout": 0.2}


def trained(model: nn.Module, task: object, data: object, steps: int = 4, batch_size: int = 17) -> Experiment:
    """Return a run of a few steps that goes through its examples more than once."""
    return Experiment(model, task, data, OPTIMIZER, steps=steps, batch_size=batch_size, seed=3)


def of_images(name: str) -> Experiment:
    """Return a run of a small model of images."""
    model = getattr(models, name)(**{**SMALL[name], "dropout": 0.2})
    return trained(model, Classification(label_smoothing=0.1), IMAGES)


FAMILIES: dict[str, Experiment] = {
    **{name: of_images(name) for name in SMALL},
    "MLP": trained(MLP(hidden=(7, 5), dropout=0.2), Classification(), IMAGES),
    "CNN1D": trained(CNN1D(classes=9, channels=(3, 5), kernel=3, dropout=0.2), Classification(), VOWELS),
    "TextCNN": trained(
        TextCNN(vocabulary=300, classes=4, embedding=5, windows=(2, 3), filters=3), Classification(), DOCSTRINGS
    ),
    **{
        f"RecurrentClassifier, {cell}": trained(
            RecurrentClassifier(classes=9, cell=cell, bidirectional=cell == "lstm", **RECURRENT),
            Classification(),
            VOWELS,
        )
        for cell in ("rnn", "lstm", "gru")
    },
    "RecurrentClassifier, a series": trained(
        RecurrentClassifier(classes=1, **RECURRENT), Forecasting(loss="huber"), SUNSPOTS
    ),
    "RecurrentLanguageModel": trained(
        RecurrentLanguageModel(vocabulary=256, embedding=3, **RECURRENT), LanguageModeling(), TOPICS
    ),
    "TransformerClassifier": trained(
        TransformerClassifier(vocabulary=300, classes=4, max_length=13, **ATTENTION), Classification(), DOCSTRINGS
    ),
    "TransformerLanguageModel": trained(
        TransformerLanguageModel(vocabulary=256, max_length=13, positions="rotary", **ATTENTION),
        LanguageModeling(),
        TOPICS,
    ),
    "TransformerLanguageModel, GPT-2": trained(
        gpt2("124M", vocabulary=256, max_length=13, **ATTENTION), LanguageModeling(), TOPICS
    ),
    "TransformerLanguageModel, packed": trained(
        gpt2("124M", vocabulary=300, max_length=13, **ATTENTION), LanguageModeling(), PACKED
    ),
    "BertPretraining": trained(
        BertPretraining(vocabulary=300, max_length=13, **ATTENTION), MaskedLanguageModeling(), SENTENCES
    ),
    "BertClassifier": trained(
        BertClassifier(vocabulary=300, classes=4, max_length=13, **ATTENTION), Classification(), DOCSTRINGS
    ),
    "Seq2Seq": trained(
        Seq2Seq(
            source_vocabulary=80,
            target_vocabulary=16,
            embedding=3,
            bidirectional=True,
            scheduled_sampling=0.3,
            **RECURRENT,
        ),
        SequenceToSequence(),
        DATES,
    ),
    "TransformerSeq2Seq": trained(
        TransformerSeq2Seq(source_vocabulary=80, target_vocabulary=16, max_length=40, **ATTENTION),
        SequenceToSequence(label_smoothing=0.1),
        DATES,
    ),
    "TransformerSeq2Seq, T5": trained(
        t5("small", source_vocabulary=SPANS.vocabulary_size, head_width=3, feed_forward_width=7, **ATTENTION),
        SequenceToSequence(),
        SPANS,
    ),
}

WHOLE = {
    "CNN": "images that are moved and made noisy in the step",
    "ResNet": "batch statistics, blocks that are left out",
    "RecurrentClassifier, lstm": "a state carried along a sequence, both ways",
    "RecurrentClassifier, a series": "windows of one series, a number to forecast",
    "TransformerLanguageModel": "attention that is dropped, text cut into pieces",
    "BertPretraining": "words and sentences drawn in the step, two outputs",
    "Seq2Seq": "its own predictions drawn as inputs, decoding at the end",
}
"""Families whose whole runs stand for all, and what of a run only they have."""

QUICK = ("CNN", "RecurrentClassifier, lstm", "TransformerLanguageModel")
"""Those that stand for all where there is little time."""


def classes() -> set[type]:
    """Return every class of models that is public."""
    return {item for item in vars(models).values() if isinstance(item, type) and issubclass(item, nn.Module)}
