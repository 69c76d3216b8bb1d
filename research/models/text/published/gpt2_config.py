"""What the config.json of a GPT-2 says."""

from collections.abc import Collection
from typing import Any

from research.layers.sequences.feed_forward import FeedForwardKind
from research.models.text.gpt2 import gpt2
from research.models.text.published.configuration import Configuration
from research.models.text.transformer import TransformerLanguageModel

ACTIVATIONS: dict[str, FeedForwardKind] = {
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu": "gelu",
    "relu": "relu",
}


def read(configuration: Configuration, tensors: Collection[str]) -> TransformerLanguageModel:
    """Return the model of a configuration; sizes that it does not say are those of the smallest GPT-2."""
    configuration.expect(
        scale_attn_weights=True,
        scale_attn_by_inverse_layer_idx=False,
        reorder_and_upcast_attn=False,
        tie_word_embeddings=True,
    )
    # The summary is that of a head for multiple choice.
    configuration.ignore(*(f"summary_{name}" for name in ("activation", "first_dropout", "proj_to_labels", "type")))
    configuration.ignore("summary_use_proj", "n_ctx")
    return gpt2(
        vocabulary=configuration.size("vocab_size", 50257),
        max_length=configuration.size("n_positions", 1024),
        width=configuration.size("n_embd", 768),
        layers=configuration.size("n_layer", 12),
        heads=configuration.size("n_head", 12),
        feed_forward_width=configuration.optional_size("n_inner"),
        feed_forward=configuration.choice("activation_function", ACTIVATIONS, "gelu_new"),
        norm_epsilon=configuration.number("layer_norm_epsilon", 1e-5),
        dropout=configuration.same_number("resid_pdrop", "embd_pdrop", default=0.1),
        attention_dropout=configuration.number("attn_pdrop", 0.1),
    )


def describe(model: TransformerLanguageModel) -> dict[str, Any]:
    """Return the configuration of a model."""
    activations = {ours: theirs for theirs, ours in reversed(ACTIVATIONS.items())}
    return {
        "architectures": ["GPT2LMHeadModel"],
        "vocab_size": model.vocabulary,
        "n_positions": model.max_length,
        "n_embd": model.width,
        "n_layer": model.layers,
        "n_head": model.heads,
        "n_inner": model.feed_forward_width,
        "activation_function": activations.get(model.feed_forward, "gelu_new"),
        "layer_norm_epsilon": model.norm_epsilon,
        "resid_pdrop": model.dropout,
        "embd_pdrop": model.dropout,
        "attn_pdrop": model.attention_dropout,
    }
