"""What a GGUF file says of a Llama, in the words of transformers."""

import re
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from research.errors import UsageError

ENTRIES = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "rope.freq_base": "rope_theta",
    "vocab_size": "vocab_size",
}
TOKENS = {"bos_token_id": "bos_token_id", "eos_token_id": "eos_token_id", "padding_token_id": "pad_token_id"}
MODULES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
NAME = re.compile(r"(?:blk\.(?P<layer>\d+)\.)?(?P<module>\w+)\.(?P<leaf>weight|bias)")


def entries(metadata: Mapping[str, Any], tensors: Collection[str]) -> dict[str, Any]:
    """Return the config.json of a file's entries, and of its names of tensors.

    Raises:
        UsageError: the file is of another architecture, a part of several, or has an entry that is not known, which may
            change what is computed.
    """
    if (kind := metadata.get("general.architecture")) != "llama":
        raise UsageError(f'it is of the architecture "{kind}", and of GGUF files only those of "llama" are read')
    if metadata.get("split.count", 1) != 1:
        raise UsageError("it is one of several files of a model: make one of them, as llama-gguf-split --merge does")
    found: dict[str, Any] = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
    said = {name.removeprefix("llama."): entry for name, entry in metadata.items() if name.startswith("llama.")}
    found |= {theirs: said.pop(ours) for ours, theirs in ENTRIES.items() if ours in said}
    width, heads = found.get("hidden_size"), found.get("num_attention_heads")
    if not isinstance(width, int) or not isinstance(heads, int) or heads < 1:
        raise UsageError("it does not say the width of the model and how many heads it has")
    head_width = found.get("head_dim", width // heads)
    same = {"attention.value_length": head_width, "rope.dimension_count": head_width, "rope.scaling.type": "none"}
    for name, expected in same.items():
        if (other := said.pop(name, expected)) != expected:
            raise UsageError(f"it says llama.{name}={other!r}, but models here have {expected!r}")
    if said:
        names = " and ".join(f'"llama.{name}"' for name in sorted(said))
        raise UsageError(f"it has {names}, which models here do not have and which may change what is computed")
    ids = {theirs: metadata.get(f"tokenizer.ggml.{ours}") for ours, theirs in TOKENS.items()}
    tied = {"attention_bias": "blk.0.attn_q.bias" in tensors, "mlp_bias": "blk.0.ffn_gate.bias" in tensors}
    return {**found, **ids, **tied, "tie_word_embeddings": "output.weight" not in tensors}


def renamed(tensors: Mapping[str, np.ndarray], said: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return a file's tensors as transformers has them, of a model with this config.json; what is unknown as it is."""
    heads = said["num_attention_heads"]
    rotated = {"attn_q": heads, "attn_k": said.get("num_key_value_heads", heads)}
    found = {}
    for name, tensor in tensors.items():
        parts = NAME.fullmatch(name)
        if parts is None or parts["module"] not in MODULES:
            found[name] = tensor
            continue
        layer = "" if parts["layer"] is None else f"model.layers.{parts['layer']}."
        count = rotated.get(parts["module"])
        whole = tensor if count is None else _in_halves(tensor, count, name)
        found[f"{layer}{MODULES[parts['module']]}.{parts['leaf']}"] = whole
    return found


def _in_halves(tensor: np.ndarray, heads: int, name: str) -> np.ndarray:
    """Return queries' or keys' rows with the two halves of each head behind one another.

    These files have them in turn, as rotary positions are then of neighbours: undone it is the same model, left as it
    is another one that writes much the same.
    """
    if tensor.ndim == 0 or not isinstance(heads, int) or heads < 1 or tensor.shape[0] % (2 * heads):
        raise UsageError(f'"{name}" in it does not have {heads} heads')
    pairs = tensor.reshape(heads, tensor.shape[0] // heads // 2, 2, *tensor.shape[1:])
    return pairs.swapaxes(1, 2).reshape(tensor.shape)
