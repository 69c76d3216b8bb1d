"""transformers' names of Llama."""

import re

from research.models.naming import Array, Entry, Names
from research.models.text.transformer import TransformerLanguageModel

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head"
FREQUENCIES = re.compile(r"\brotary_emb\.inv_freq$")  # a buffer of older files


def names(model: TransformerLanguageModel) -> Names:
    """Return the name of every module."""
    found: dict[str, Entry] = {
        "embedding.tokens.embedding": Array(EMBEDDING, (-1, model.width)),
        "decoder.norm": "model.norm",
    }
    if not model.tied:
        found["head"] = HEAD
    for layer in range(model.layers):
        ours, theirs = f"decoder.layer_{layer}", f"model.layers.{layer}"
        found |= {
            f"{ours}.attention_norm": f"{theirs}.input_layernorm",
            f"{ours}.attention.query": f"{theirs}.self_attn.q_proj",
            f"{ours}.attention.key": f"{theirs}.self_attn.k_proj",
            f"{ours}.attention.value": f"{theirs}.self_attn.v_proj",
            f"{ours}.attention.output": f"{theirs}.self_attn.o_proj",
            f"{ours}.feed_forward_norm": f"{theirs}.post_attention_layernorm",
            f"{ours}.feed_forward.hidden": f"{theirs}.mlp.gate_proj",
            f"{ours}.feed_forward.linear": f"{theirs}.mlp.up_proj",
            f"{ours}.feed_forward.output": f"{theirs}.mlp.down_proj",
        }
    return found


def current(model: TransformerLanguageModel, name: str) -> str | None:
    """Return a tensor's name as files have it now, None for a buffer."""
    return None if FREQUENCIES.search(name) else name


def copies(model: TransformerLanguageModel) -> dict[str, str]:
    """Return tensors that a file may hold though they are others once more."""
    return {f"{HEAD}.weight": EMBEDDING} if model.tied else {}
