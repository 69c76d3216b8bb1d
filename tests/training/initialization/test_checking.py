"""What of an experiment does not fit is found before anything is computed, and said in a sentence."""

import re

import flax.linen as nn
import jax
import pytest

from research.data import Bucketed, Images, LabelledText, Pairs, Sequences, Text, Trained
from research.errors import UsageError
from research.experiment import Experiment, replace
from research.models import CNN, CNN1D, MLP, RecurrentClassifier, Seq2Seq, TextCNN, TransformerSeq2Seq
from research.optimization import Optimizer
from research.tasks import Classification, LanguageModeling, SequenceToSequence
from research.training import check


class Heads(nn.Module):
    """A model of a user's own, whose fields say nothing of what they allow."""

    width: int = 8
    heads: int = 2
    activation: str = "relu"
    wrong: bool = False

    @nn.compact
    def __call__(self, x, train=False):
        if self.wrong:
            return nowhere  # noqa: F821
        x = getattr(nn, self.activation)(nn.Dense(self.width)(x.reshape(len(x), -1)))
        return nn.Dense(10)(x.reshape(len(x), self.heads, self.width // self.heads)[:, 0])


def of(model, task, data):
    return Experiment(model, task, data, Optimizer("adam"), steps=3, batch_size=5)


DOCSTRINGS = LabelledText(tokenizer=Trained("wordpiece", 300), length=7)
DATES = Pairs(source_tokenizer=Trained("characters", 80))


@pytest.mark.parametrize(
    "experiment, message",
    [
        (
            of(TextCNN(300), Classification(), Sequences()),
            "TextCNN reads tokens, but the data gives it features, lengths: choose another model, or other data",
        ),
        (
            of(CNN(), Classification(), DOCSTRINGS),
            "CNN reads image, but the data gives it lengths, tokens: choose",
        ),
        (
            of(MLP(), Classification(), DOCSTRINGS),
            "MLP reads image or features, but the data gives it lengths, tokens: choose",
        ),
        (
            of(RecurrentClassifier(vocabulary=None), Classification(), DOCSTRINGS),
            "RecurrentClassifier reads features, but the data gives it lengths, tokens: choose",
        ),
        (
            of(CNN1D(), Classification(), Images("digits")),
            "CNN1D reads features, but the data gives it image: choose",
        ),
        (
            of(Seq2Seq(), LanguageModeling(), Text(length=7)),
            "Seq2Seq reads targets, but the data gives it tokens: choose",
        ),
        (
            of(TextCNN(299, classes=4), Classification(), DOCSTRINGS),
            "the data has 300 token ids, the model knows 299: set model.vocabulary",
        ),
        (
            of(Seq2Seq(source_vocabulary=79, target_vocabulary=16), SequenceToSequence(), DATES),
            "the data has 80 token ids, the model knows 79: set model.source_vocabulary",
        ),
        (
            of(TransformerSeq2Seq(source_vocabulary=79, layers=1), SequenceToSequence(), DATES),
            "the data has 80 token ids, the model knows 79: set model.source_vocabulary",
        ),
        (
            of(TextCNN(300, classes=5), Classification(), DOCSTRINGS),
            "the model gives 5 logits, but the dataset has 4 classes: set model.classes",
        ),
    ],
)
def test_what_does_not_fit_is_said(experiment, message):
    with pytest.raises(UsageError, match=message):
        check(experiment)


@pytest.mark.parametrize(
    "model, data, boundaries, message",
    [
        (CNN(), Images("digits"), (7,), "Images has no examples of differing lengths to put into buckets"),
        (Seq2Seq(), Text(length=7), (3,), "Text has no examples of differing lengths to put into buckets"),
        (RecurrentClassifier(), Sequences(), (), r"boundaries must ascend, each above the one before, not \(\)"),
        (RecurrentClassifier(), Sequences(), (9, 7), r"boundaries must ascend, .* not \(9, 7\)"),
        (RecurrentClassifier(), Sequences(), (7, 7), r"boundaries must ascend, .* not \(7, 7\)"),
        (RecurrentClassifier(), Sequences(), (7, 29), "below the full length, and 29 is not below 29"),
        (MLP(classes=9), Sequences(), (7, 12), "MLP does not take the 7 steps that a Bucketed order cuts batches to"),
    ],
)
def test_what_cannot_be_put_into_buckets_is_said(model, data, boundaries, message):
    experiment = of(model, Classification(), data)
    with pytest.raises(UsageError, match=message):
        check(replace(experiment, {"data.order": Bucketed(boundaries)}))


def test_pairs_are_as_long_as_the_longer_side():
    model = Seq2Seq(source_vocabulary=80, target_vocabulary=16, hidden=3, embedding=3)
    experiment = of(model, SequenceToSequence(), DATES)  # of 40 and 11 tokens
    check(replace(experiment, {"data.order": Bucketed((5, 39))}))
    with pytest.raises(UsageError, match="40 is not below 40"):
        check(replace(experiment, {"data.order": Bucketed((5, 40))}))


def test_a_larger_vocabulary_fits():
    check(of(TextCNN(301, classes=4), Classification(), DOCSTRINGS))


def test_strict_promotion_is_refused_before_anything_is_traced():
    with jax.numpy_dtype_promotion("strict"), pytest.raises(UsageError, match="set it to standard"):
        check(of(CNN(), Classification(), Images("digits")))


def instead(name, value):
    default = getattr(Heads, name)
    return re.escape(f"model.{name}, which is {value!r}, to another value, such as its default {default!r}")


@pytest.mark.fault("F30")
@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"width": -3}, [instead("width", -3)]),
        ({"width": 16, "activation": "rleu"}, [instead("activation", "rleu")]),
        ({"width": 6, "heads": 4}, [instead("width", 6), "or", instead("heads", 4)]),
        ({"width": -3, "activation": "rleu"}, [instead("width", -3), "and", instead("activation", "rleu")]),
    ],
)
def test_a_field_without_bounds_is_named_where_its_value_cannot_be_traced(fields, named):
    with pytest.raises(UsageError, match=rf"^Heads cannot be traced \(\w+: .*\): set {' '.join(named)}$"):
        check(of(Heads(**fields), Classification(), Images("digits")))


def test_a_model_that_is_not_told_of_training_is_named():
    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(10)(x.reshape(len(x), -1))

    with pytest.raises(UsageError, match=r"^Plain\.__call__ takes no `train`, .*: write `def __call__\(self, x, train"):
        check(of(Plain(), Classification(), Images("digits")))


def test_code_that_is_wrong_whatever_its_fields_are_keeps_its_traceback():
    class Wrong(Heads):
        wrong: bool = True

    with pytest.raises(NameError, match="nowhere"):
        check(of(Wrong(width=16), Classification(), Images("digits")))
