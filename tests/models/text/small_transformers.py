"""Small Transformers, what they read, and parameters that are not those of the beginning."""

import jax
import jax.numpy as jnp
import numpy as np

from research.models.text.transformer import TransformerClassifier, TransformerLanguageModel
from research.models.text.transformer_seq2seq import TransformerSeq2Seq

SIZES = {"layers": 2, "width": 12, "heads": 3, "feed_forward_width": 7}
TOKENS = np.random.default_rng(0).integers(0, 11, (3, 7))
LENGTHS = np.array([4, 7, 1])
MODELS = {
    "classifier": TransformerClassifier(**SIZES, vocabulary=11, classes=5),
    "language_model": TransformerLanguageModel(**SIZES, vocabulary=11),
    "seq2seq": TransformerSeq2Seq(**SIZES, source_vocabulary=11, target_vocabulary=13),
}
LM = MODELS["language_model"]


def inputs(name, lengths=False):
    if name == "language_model" and not lengths:
        return TOKENS
    batch = {"tokens": TOKENS} | ({"targets": TOKENS[:, :5] + 1} if name == "seq2seq" else {})
    return batch | ({"lengths": LENGTHS} if lengths else {})


def randomized(model, *call, seed=0, scale=0.4):
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *call))
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(generator.normal(size=leaf.shape) * scale, leaf.dtype), shapes)


def close(a, b, tolerance=1e-5):
    def compare(a, b):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(float(np.abs(b).max()), 1))

    jax.tree.map(compare, a, b)


def stacked(params):
    """Parameters of the unrolled blocks as those of the loop."""
    if not isinstance(params, dict):
        return params
    if "layer_0" not in params:
        return {name: stacked(value) for name, value in params.items()}
    layers = [params[f"layer_{index}"] for index in range(2)]
    rest = {name: value for name, value in params.items() if not name.startswith("layer_")}
    return {**rest, "layers": jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)}
