"""transformers' names of T5."""

import re

from research.layers.sequences.feed_forward import GATED
from research.models.naming import Array, Entry, Names
from research.models.text.transformer_seq2seq import TransformerSeq2Seq

EMBEDDING, HEAD = "shared.weight", "lm_head"
RELATIVE = "block.0.layer.0.SelfAttention.relative_attention_bias.weight"
UNUSED = re.compile(r"EncDecAttention\.relative_attention_bias\.weight$")  # of older files, whose models do not use it


def names(model: TransformerSeq2Seq) -> Names:
    """Return the name of every module; each stack has its table of relative positions in its first block."""
    found: dict[str, Entry] = {"embedding.tokens.embedding": Array(EMBEDDING, (-1, model.width))}
    if not model.tied:
        found["head"] = HEAD
    for stack, parts in (("encoder", ("attention",)), ("decoder", ("attention", "cross_attention"))):
        found[f"{stack}.relative.table"] = Array(f"{stack}.{RELATIVE}", (-1, model.heads))
        found[f"{stack}.norm"] = f"{stack}.final_layer_norm"
        for layer in range(model.layers):
            ours, theirs = f"{stack}.layer_{layer}", f"{stack}.block.{layer}.layer"
            for index, part in enumerate(parts):
                kind = "SelfAttention" if part == "attention" else "EncDecAttention"
                found[f"{ours}.{part}_norm"] = f"{theirs}.{index}.layer_norm"
                found |= {
                    f"{ours}.{part}.{kernel}": f"{theirs}.{index}.{kind}.{kernel[0]}"
                    for kernel in ("query", "key", "value", "output")
                }
            found[f"{ours}.feed_forward_norm"] = f"{theirs}.{len(parts)}.layer_norm"
            found |= _feed_forward(f"{ours}.feed_forward", f"{theirs}.{len(parts)}.DenseReluDense", model)
    return found


def _feed_forward(ours: str, theirs: str, model: TransformerSeq2Seq) -> dict[str, Entry]:
    """Return the names of a feed-forward part, of which a gated one has two matrices at its entrance."""
    found: dict[str, Entry] = {f"{ours}.output": f"{theirs}.wo"}
    if model.feed_forward in GATED:
        return found | {f"{ours}.hidden": f"{theirs}.wi_0", f"{ours}.linear": f"{theirs}.wi_1"}
    return found | {f"{ours}.hidden": f"{theirs}.wi"}


def current(model: TransformerSeq2Seq, name: str) -> str | None:
    """Return a tensor's name as files have it now, None for what nothing uses."""
    return None if UNUSED.search(name) else name


def copies(model: TransformerSeq2Seq) -> dict[str, str]:
    """Return tensors that a file may hold though they are others once more."""
    tied = {f"{HEAD}.weight": EMBEDDING} if model.tied else {}
    return {f"{stack}.embed_tokens.weight": EMBEDDING for stack in ("encoder", "decoder")} | tied
