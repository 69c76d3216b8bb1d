"""T5: the encoder-decoder of Raffel et al. (2020)."""

from typing import Any, Literal

from research.models.sizes import variant
from research.models.text.transformer_seq2seq import TransformerSeq2Seq

T5Size = Literal["small", "base", "large", "3B", "11B", "v1.1-small", "v1.1-base", "v1.1-large", "v1.1-XL", "v1.1-XXL"]

SIZES: dict[T5Size, dict[str, int]] = {
    "small": {"layers": 6, "width": 512, "heads": 8, "feed_forward_width": 2048},
    "base": {"layers": 12, "width": 768, "heads": 12, "feed_forward_width": 3072},
    "large": {"layers": 24, "width": 1024, "heads": 16, "feed_forward_width": 4096},
    "3B": {"layers": 24, "width": 1024, "heads": 32, "head_width": 128, "feed_forward_width": 16384},
    "11B": {"layers": 24, "width": 1024, "heads": 128, "head_width": 128, "feed_forward_width": 65536},
    "v1.1-small": {"layers": 8, "width": 512, "heads": 6, "feed_forward_width": 1024},
    "v1.1-base": {"layers": 12, "width": 768, "heads": 12, "feed_forward_width": 2048},
    "v1.1-large": {"layers": 24, "width": 1024, "heads": 16, "feed_forward_width": 2816},
    "v1.1-XL": {"layers": 24, "width": 2048, "heads": 32, "feed_forward_width": 5120},
    "v1.1-XXL": {"layers": 24, "width": 4096, "heads": 64, "feed_forward_width": 10240},
}
PUBLISHED: dict[str, Any] = {
    "source_vocabulary": 32128,
    "head_width": 64,
    "positions": "relative",
    "attention_scale": False,
    "norm": "rmsnorm",
    "norm_placement": "pre",
    "norm_epsilon": 1e-6,
    "bias": False,
    "initialization": "normal",
    "embedding_scale": False,
    "dropout": 0.1,
    "attention_dropout": 0.1,
    "feed_forward_dropout": 0.1,
    "final_dropout": 0.1,
}
FIRST: dict[str, Any] = {"feed_forward": "relu", "tied": True, "output_scale": True}
LATER: dict[str, Any] = {"feed_forward": "geglu_tanh", "tied": False, "output_scale": False}


def t5(size: T5Size = "v1.1-base", **fields: Any) -> TransformerSeq2Seq:
    """Return T5 as published, with `fields` exchanged: `t5("small", layers=2)`, say.

    Pre-norm by the root mean square, one table of relative positions for each stack, no biases, scores that are not
    divided by the root of a head's width. The first version has relu, and a tied output layer before which what the
    decoder gives is divided by the root of the width; version 1.1, which FLAN-T5 has too, a gelu gate and an output
    layer of its own. Matrices begin with deviation 0.02, those of the authors each with one of its own. Source: Raffel
    et al., "Exploring the limits of transfer learning with a unified text-to-text transformer" (2020), and the
    released weights. Parameters: 60,506,624, 222,903,552, 737,668,096, 2,851,598,336 and 11,307,321,344 of the first
    version; 76,961,152, 247,577,856, 783,150,080, 2,849,757,184 and 11,135,332,352 of version 1.1.
    """
    version = LATER if str(size).startswith("v1.1") else FIRST
    return TransformerSeq2Seq(**{**PUBLISHED, **version, **variant(SIZES, size), **fields})
