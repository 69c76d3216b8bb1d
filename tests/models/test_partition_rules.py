"""Every model says how its parameters are divided, and its rules are about parameters that it has."""

import inspect
import math
import re

import flax.linen as nn
import jax
import numpy as np
import pytest

from research import models
from research.layers.partition import partition_spec

MODELS = {name: item for name, item in vars(models).items() if inspect.isclass(item) and issubclass(item, nn.Module)}
TOKENS = np.zeros((1, 5), np.int32)
PAIR = {"tokens": TOKENS, "targets": TOKENS}
IMAGES = np.zeros((1, 28, 28, 1), np.float32)
SIZES = {"width": 24, "heads": 4, "layers": 2}
LONG = {"vocabulary": 48, **SIZES}

# Enough variants of the models with rules that every rule is about one of them.
VARIANTS = {
    "BertClassifier": [(models.BertClassifier(**LONG), TOKENS)],
    "BertPretraining": [(models.BertPretraining(**LONG), TOKENS)],
    "CNN": [(models.CNN(dense=(8, 8)), IMAGES)],
    "MLP": [(models.MLP(), IMAGES)],
    "Mixer": [(models.Mixer(width=24, layers=2, feed_forward="swiglu"), IMAGES)],
    "RecurrentClassifier": [(models.RecurrentClassifier(vocabulary=48), TOKENS)],
    "RecurrentLanguageModel": [(models.RecurrentLanguageModel(), TOKENS)],
    "Seq2Seq": [(models.Seq2Seq(), PAIR)],
    "TextCNN": [(models.TextCNN(vocabulary=48), TOKENS)],
    "TransformerClassifier": [(models.TransformerClassifier(**LONG), TOKENS)],
    "TransformerLanguageModel": [
        (models.TransformerLanguageModel(**LONG, tied=False, feed_forward="geglu"), TOKENS),
        (models.TransformerLanguageModel(**LONG, scan=True), TOKENS),
    ],
    "TransformerSeq2Seq": [(models.TransformerSeq2Seq(source_vocabulary=48, tied=False, **SIZES), PAIR)],
    "VGG": [(models.VGG(blocks=(1,), width=4, grid=2, dense=(8, 8)), IMAGES)],
    "ViT": [(models.ViT(**SIZES, representation=24), IMAGES)],
}
WHOLE = ("pooler", "transform", "representation", "embedding.project")  # kernels that make what is as wide as the model


def parameters(model, batch):
    """Return the shape of every parameter by its path."""
    variables = jax.eval_shape(model.init, jax.random.key(0), batch)
    leaves, _ = jax.tree_util.tree_flatten_with_path(variables["params"])
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf.shape for path, leaf in leaves}


def test_every_model_says_how_it_is_divided():
    assert {name for name, model in MODELS.items() if model().partition} == VARIANTS.keys()


@pytest.mark.parametrize("name", VARIANTS)
def test_every_rule_is_the_first_that_fits_some_parameter(name):
    rules = MODELS[name].partition
    used = set()
    for model, batch in VARIANTS[name]:
        for path in parameters(model, batch):
            used.add(next((pattern for pattern, _ in rules if re.search(pattern, path)), None))
    assert used - {None} == {pattern for pattern, _ in rules}


@pytest.mark.parametrize(
    "name", [name for name in VARIANTS if "Transformer" in name or name in ("BertPretraining", "ViT")]
)
def test_all_large_kernels_within_the_blocks_of_a_transformer_are_divided(name):
    sizes = {"data": 1, "fsdp": 1, "tensor": 2}
    for model, batch in VARIANTS[name]:
        found = parameters(model, batch)
        large = {path: shape for path, shape in found.items() if math.prod(shape) >= model.width**2}
        divided = {path for path, shape in large.items() if any(partition_spec(model.partition, path, shape, sizes))}
        assert len(divided) >= 6
        left = [path for path in large.keys() - divided if path.endswith("kernel")]
        assert all(any(part in path for part in WHOLE) for path in left), left
