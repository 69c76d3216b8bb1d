"""Llama: the language model of Touvron et al. (2023)."""

from typing import Any, Literal

from research.models.sizes import variant
from research.models.text.transformer import TransformerLanguageModel

LlamaSize = Literal["7B", "13B", "33B", "65B"]

SIZES: dict[LlamaSize, dict[str, int]] = {
    "7B": {"layers": 32, "width": 4096, "heads": 32, "feed_forward_width": 11008},
    "13B": {"layers": 40, "width": 5120, "heads": 40, "feed_forward_width": 13824},
    "33B": {"layers": 60, "width": 6656, "heads": 52, "feed_forward_width": 17920},
    "65B": {"layers": 80, "width": 8192, "heads": 64, "feed_forward_width": 22016},
}


def llama(size: LlamaSize = "7B", **fields: Any) -> TransformerLanguageModel:
    """Return Llama as published, with `fields` exchanged: `llama("7B", layers=2, width=128, heads=4)`, say.

    Pre-norm by the root mean square, rotary positions, SwiGLU, no biases, an output layer of its own. Later models of
    the family have `key_value_heads`, and the small ones a tied output layer. Source: Touvron et al., "LLaMA: open and
    efficient foundation language models" (2023, section 2.2 and table 2). Parameters: 6,738,415,616, 13,015,864,320,
    32,528,943,616 and 65,285,660,672.
    """
    published = {
        "vocabulary": 32000,
        "max_length": 2048,
        "positions": "rotary",
        "norm": "rmsnorm",
        "norm_placement": "pre",
        "norm_epsilon": 1e-6,
        "feed_forward": "swiglu",
        "bias": False,
        "initialization": "normal",
        "tied": False,
    }
    return TransformerLanguageModel(**{**published, **variant(SIZES, size), **fields})
