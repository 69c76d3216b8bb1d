"""GPT-2: the language model of Radford et al. (2019)."""

from typing import Any, Literal

from research.models.sizes import variant
from research.models.text.transformer import TransformerLanguageModel

GPT2Size = Literal["124M", "355M", "774M", "1.5B"]

SIZES: dict[GPT2Size, dict[str, int]] = {
    "124M": {"layers": 12, "width": 768, "heads": 12},
    "355M": {"layers": 24, "width": 1024, "heads": 16},
    "774M": {"layers": 36, "width": 1280, "heads": 20},
    "1.5B": {"layers": 48, "width": 1600, "heads": 25},
}


def gpt2(size: GPT2Size = "124M", **fields: Any) -> TransformerLanguageModel:
    """Return GPT-2 as published, with `fields` exchanged: `gpt2("124M", max_length=256)`, say.

    Pre-norm, learned positions, the tanh approximation of gelu, a tied output layer, matrices of deviation 0.02,
    divided by the root of the number of residual branches where one ends. Source: Radford et al., "Language models are
    unsupervised multitask learners" (2019), and the released weights, after whose parameters the sizes are named:
    124,439,808, 354,823,168, 774,030,080 and 1,557,611,200.
    """
    published = {
        "vocabulary": 50257,
        "max_length": 1024,
        "positions": "learned",
        "norm_placement": "pre",
        "norm_epsilon": 1e-5,
        "feed_forward": "gelu_tanh",
        "initialization": "scaled_normal",
        "tied": True,
        "dropout": 0.1,
        "attention_dropout": 0.1,
    }
    return TransformerLanguageModel(**{**published, **variant(SIZES, size), **fields})
