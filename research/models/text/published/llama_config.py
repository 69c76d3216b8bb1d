"""What the config.json of a Llama says."""

from collections.abc import Collection
from typing import Any

from research.errors import UsageError
from research.layers.sequences.feed_forward import FeedForwardKind
from research.models.text.llama import llama
from research.models.text.published.configuration import Configuration
from research.models.text.transformer import TransformerLanguageModel

ACTIVATIONS: dict[str, FeedForwardKind] = {"silu": "swiglu", "gelu": "geglu", "gelu_pytorch_tanh": "geglu_tanh"}
TRUTH = {True: True, False: False}


def read(configuration: Configuration, tensors: Collection[str]) -> TransformerLanguageModel:
    """Return the model of a configuration; sizes that it does not say are those of the smallest Llama."""
    configuration.expect(pretraining_tp=1, rope_interleaved=False, partial_rotary_factor=1.0)
    configuration.ignore("is_llama_config")
    heads = configuration.size("num_attention_heads", 32)
    groups = configuration.size("num_key_value_heads", heads)
    return llama(
        vocabulary=configuration.size("vocab_size", 32000),
        max_length=configuration.size("max_position_embeddings", 2048),
        width=configuration.size("hidden_size", 4096),
        layers=configuration.size("num_hidden_layers", 32),
        heads=heads,
        key_value_heads=None if groups == heads else groups,
        head_width=configuration.optional_size("head_dim"),
        feed_forward_width=configuration.size("intermediate_size", 11008),
        feed_forward=configuration.choice("hidden_act", ACTIVATIONS, "silu"),
        norm_epsilon=configuration.number("rms_norm_eps", 1e-6),
        rotary_base=rotary_base(configuration),
        bias=biases(configuration),
        tied=configuration.choice("tie_word_embeddings", TRUTH, False),
        attention_dropout=configuration.number("attention_dropout", 0.0),
    )


def rotary_base(configuration: Configuration) -> float:
    """Return the base of the wavelengths, which newer files say in `rope_parameters`.

    Raises:
        UsageError: the wavelengths are scaled.
    """
    base = configuration.number("rope_theta", 10000.0)
    for name in ("rope_parameters", "rope_scaling"):
        table = Configuration(configuration.mapping(name), within=f"{name}.")
        table.expect(rope_type="default", type="default", partial_rotary_factor=1.0)
        base = table.number("rope_theta", base)
        table.finish()
    return base


def biases(configuration: Configuration) -> bool:
    """Return whether dense layers have biases: all of them, or none."""
    attention, feed_forward = (configuration.choice(f"{part}_bias", TRUTH, False) for part in ("attention", "mlp"))
    if attention != feed_forward:
        raise UsageError(
            f"config.json asks for attention_bias={attention} and mlp_bias={feed_forward}, where models here have "
            "both or neither"
        )
    return attention


def describe(model: TransformerLanguageModel) -> dict[str, Any]:
    """Return the configuration of a model."""
    activations = {ours: theirs for theirs, ours in ACTIVATIONS.items()}
    heads, d = model.heads, model.width
    return {
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": model.vocabulary,
        "max_position_embeddings": model.max_length,
        "hidden_size": d,
        "num_hidden_layers": model.layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads if model.key_value_heads is None else model.key_value_heads,
        "head_dim": d // heads if model.head_width is None else model.head_width,
        "intermediate_size": 4 * d if model.feed_forward_width is None else model.feed_forward_width,
        "hidden_act": activations.get(model.feed_forward, "silu"),
        "rms_norm_eps": model.norm_epsilon,
        "rope_theta": model.rotary_base,
        "attention_bias": model.bias,
        "mlp_bias": model.bias,
        "tie_word_embeddings": model.tied,
        "attention_dropout": model.attention_dropout,
    }
