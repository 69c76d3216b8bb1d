"""transformers' names of GPT-2."""

import re

from research.models.naming import Array, Entry, InputsFirst, Names
from research.models.text.transformer import TransformerLanguageModel

EMBEDDING = "transformer.wte.weight"
MASKS = re.compile(r"\bh\.\d+\.attn\.(bias|masked_bias)$")  # buffers: which tokens a token sees


def names(model: TransformerLanguageModel) -> Names:
    """Return the name of every module; its dense layers have their inputs first, as ours, and three are in one."""
    found: dict[str, Entry] = {
        "embedding.tokens.embedding": Array(EMBEDDING, (-1, model.width)),
        "embedding.learned.table": Array("transformer.wpe.weight", (-1, model.width)),
        "decoder.norm": "transformer.ln_f",
    }
    for layer in range(model.layers):
        ours, theirs = f"decoder.layer_{layer}", f"transformer.h.{layer}"
        found |= {
            f"{ours}.attention.{part}": InputsFirst(f"{theirs}.attn.c_attn", index, 3)
            for index, part in enumerate(("query", "key", "value"))
        }
        found |= {
            f"{ours}.attention_norm": f"{theirs}.ln_1",
            f"{ours}.attention.output": InputsFirst(f"{theirs}.attn.c_proj"),
            f"{ours}.feed_forward_norm": f"{theirs}.ln_2",
            f"{ours}.feed_forward.hidden": InputsFirst(f"{theirs}.mlp.c_fc"),
            f"{ours}.feed_forward.output": InputsFirst(f"{theirs}.mlp.c_proj"),
        }
    return found


def current(model: TransformerLanguageModel, name: str) -> str | None:
    """Return a tensor's name as files have it now, None for a buffer; those of the authors have no prefix."""
    if MASKS.search(name):
        return None
    return name if name.startswith(("transformer.", "lm_head.")) else f"transformer.{name}"


def copies(model: TransformerLanguageModel) -> dict[str, str]:
    """Return tensors that a file may hold though they are others once more."""
    return {"lm_head.weight": EMBEDDING}
