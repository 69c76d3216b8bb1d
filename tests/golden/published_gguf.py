"""Makes published_llama.gguf: the model `llama` of published_llama.npz, and a tokenizer, as the package gguf writes it.

    python tests/golden/published_gguf.py

Needs gguf (0.19.0 was used) and safetensors. Rows of queries and keys are brought into the order of llama.cpp, by
`permute` of its convert_hf_to_gguf.py.
"""

import json
import pathlib

import gguf
import numpy as np
import safetensors.numpy

MODULES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
TOKENS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "Ġ", *"abcdeint12'", "in", "Ġa", "12", "'t", "ea"]
MERGES = ["i n", "Ġ a", "1 2", "' t", "e a"]


def permute(weights: np.ndarray, heads: int) -> np.ndarray:
    """Return rows in the order of llama.cpp."""
    shape = weights.shape
    return weights.reshape(heads, 2, shape[0] // heads // 2, *shape[1:]).swapaxes(1, 2).reshape(shape)


def main() -> None:
    """Write the file."""
    folder = pathlib.Path(__file__).parent
    with np.load(folder / "published_llama.npz") as archive:
        config = json.loads(archive["llama/config.json"].tobytes())
        tensors = safetensors.numpy.load(archive["llama/model.safetensors"].tobytes())
    heads, groups = config["num_attention_heads"], config["num_key_value_heads"]
    writer = gguf.GGUFWriter(folder / "published_llama.gguf", "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(groups)
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(500.0)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(TOKENS)
    writer.add_token_types([3] * 3 + [1] * (len(TOKENS) - 3))
    writer.add_token_merges(MERGES)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_pad_token_id(2)
    writer.add_chat_template("{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}")
    for name, tensor in tensors.items():
        module, leaf = name.removeprefix("model.layers.").rpartition(".")[::2]
        layer, _, inner = module.partition(".")
        there = f"blk.{layer}.{MODULES[inner]}" if layer.isdigit() else MODULES[module]
        count = {"attn_q": heads, "attn_k": groups}.get(there.rpartition(".")[2])
        writer.add_tensor(f"{there}.{leaf}", tensor if count is None else permute(tensor, count))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
