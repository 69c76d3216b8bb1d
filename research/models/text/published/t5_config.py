"""What the config.json of a T5 says."""

from collections.abc import Collection
from typing import Any

from research.layers.sequences.feed_forward import FeedForwardKind
from research.models.text.published.configuration import Configuration
from research.models.text.published.t5_names import HEAD
from research.models.text.t5 import t5
from research.models.text.transformer_seq2seq import TransformerSeq2Seq

KINDS: dict[str, FeedForwardKind] = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gated-gelu": "geglu_tanh",  # the approximation, whatever its name says
    "gated-silu": "swiglu",
}
TRUTH = {True: True, False: False}


def read(configuration: Configuration, tensors: Collection[str]) -> TransformerSeq2Seq:
    """Return the model of a configuration; sizes that it does not say are those of the smallest T5."""
    layers = configuration.size("num_layers", 6)
    configuration.expect(
        is_encoder_decoder=True,
        num_decoder_layers=layers,
        relative_attention_num_buckets=32,
        relative_attention_max_distance=128,
    )
    configuration.ignore("is_gated_act", "dense_act_fn")  # what feed_forward_proj says, in parts
    configuration.ignore("initializer_factor", "classifier_dropout", "output_past")
    tied = configuration.choice("tie_word_embeddings", TRUTH, True)
    # Published files of version 1.1 say that nothing is tied, and mean the scale too. transformers 5 says of all that
    # they are tied, and of the scale apart; that an output layer is in the file of one without is left to be found.
    scaled = configuration.choice("scale_decoder_outputs", TRUTH, tied)
    own_head = any(name.startswith(HEAD) for name in tensors)
    dropout = configuration.number("dropout_rate", 0.1)
    return t5(
        "small",
        source_vocabulary=configuration.size("vocab_size", 32128),
        max_length=configuration.size("n_positions", 512),
        width=configuration.size("d_model", 512),
        layers=layers,
        heads=configuration.size("num_heads", 8),
        head_width=configuration.size("d_kv", 64),
        feed_forward_width=configuration.size("d_ff", 2048),
        feed_forward=configuration.choice("feed_forward_proj", KINDS, "relu"),
        norm_epsilon=configuration.number("layer_norm_epsilon", 1e-6),
        tied=tied and (scaled or not own_head),
        output_scale=scaled,
        dropout=dropout,
        attention_dropout=dropout,
        feed_forward_dropout=dropout,
        final_dropout=dropout,
    )


def describe(model: TransformerSeq2Seq) -> dict[str, Any]:
    """Return the configuration of a model."""
    kinds = {ours: theirs for theirs, ours in KINDS.items()}
    heads, d = model.heads, model.width
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "is_encoder_decoder": True,
        "vocab_size": model.source_vocabulary,
        "n_positions": model.max_length,
        "d_model": d,
        "num_layers": model.layers,
        "num_decoder_layers": model.layers,
        "num_heads": heads,
        "d_kv": d // heads if model.head_width is None else model.head_width,
        "d_ff": 4 * d if model.feed_forward_width is None else model.feed_forward_width,
        "feed_forward_proj": kinds.get(model.feed_forward, "relu"),
        "relative_attention_num_buckets": 32,
        "relative_attention_max_distance": 128,
        "layer_norm_epsilon": model.norm_epsilon,
        "tie_word_embeddings": model.tied,
        "scale_decoder_outputs": model.output_scale,
        "dropout_rate": model.dropout,
    }
