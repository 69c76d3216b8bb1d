"""Makes transformer.npz: what PyTorch and transformers give, and their gradients, for tests of ours.

    python tests/golden/transformer.py

Needs PyTorch (2.13.0 was used, on CPU) and transformers (5.23.0), which are not dependencies of the project. Every
model is tiny, random and in evaluation mode; parameters are float32, the computation float64 where the library allows
it. Arrays are named CASE/NAME; parameters CASE/parameter/NAME as in the library's state dictionary, and the gradients
of sum(weight * output), summed over the outputs, CASE/gradient/NAME.
"""

import pathlib

import numpy as np
import torch
import transformers
from transformers.models.bloom import modeling_bloom
from transformers.models.llama import modeling_llama
from transformers.models.t5 import modeling_t5

ARRAYS: dict[str, np.ndarray] = {}


def store(case: str, **arrays: torch.Tensor) -> None:
    """Keep arrays under their case, floats as float32."""
    for name, array in arrays.items():
        array = array.detach().numpy()
        ARRAYS[f"{case}/{name}"] = array.astype(np.float32) if array.dtype == np.float64 else array


def randomize(module: torch.nn.Module, seed: int, scale: float = 0.3) -> torch.nn.Module:
    """Return the module in float64 and evaluation mode, every parameter random and exact in float32."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * scale
            norm = parameter.ndim == 1 and "bias" not in name
            parameter.copy_(1 + noise if norm else noise)
    return module.double().eval()


def normal(seed: int, *shape: int) -> torch.Tensor:
    """Return random numbers that are exact in float32, with a gradient."""
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()
    return x.requires_grad_()


def differentiate(case: str, module: torch.nn.Module, inputs: dict[str, torch.Tensor], **outputs: torch.Tensor) -> None:
    """Keep inputs, outputs, weights of the outputs, parameters and gradients."""
    weights = {name: normal(900 + index, *y.shape).detach() for index, (name, y) in enumerate(outputs.items())}
    module.zero_grad()
    sum((weights[name] * y).sum() for name, y in outputs.items()).backward()
    store(case, **inputs, **outputs, **{f"weight_{name}": weight for name, weight in weights.items()})
    store(case, **{f"gradient/{name}": x.grad for name, x in inputs.items() if x.requires_grad})
    for name, parameter in module.named_parameters():
        store(case, **{f"parameter/{name}": parameter})
        if parameter.grad is not None:
            store(case, **{f"gradient/{name}": parameter.grad})


def attention() -> None:
    """Multi-head attention of width 15 with 3 heads, for every mask."""
    b, l, s, d, h = 2, 7, 11, 15, 3
    module = randomize(torch.nn.MultiheadAttention(d, h, batch_first=True), 1)
    x, memory = normal(2, b, l, d), normal(3, b, s, d)
    far = torch.triu(torch.ones(l, l, dtype=torch.bool), 1)
    padding = torch.arange(l)[None] >= torch.tensor([[5], [7]])
    memory_padding = torch.arange(s)[None] >= torch.tensor([[11], [4]])
    outside = (torch.arange(l)[:, None] - torch.arange(l)[None]).abs() > 2
    bias = normal(4, b * h, l, l)
    cases = {
        "full": (x, {}),
        "padding": (x, {"key_padding_mask": padding}),
        "causal": (x, {"attn_mask": far}),
        "causal_padding": (x, {"attn_mask": far, "key_padding_mask": padding}),
        "window": (x, {"attn_mask": outside}),
        "causal_window": (x, {"attn_mask": outside | far}),
        "bias": (x, {"attn_mask": bias}),
        "cross": (memory, {}),
        "cross_padding": (memory, {"key_padding_mask": memory_padding}),
    }
    for name, (source, options) in cases.items():
        for leaf in (x, memory, bias):
            leaf.grad = None
        y, weights = module(x, source, source, need_weights=True, average_attn_weights=False, **options)
        inputs = {"x": x} if source is x else {"x": x, "memory": memory}
        if name == "bias":
            inputs["bias"] = bias
        differentiate(f"attention_{name}", module, inputs, y=y)
        store(f"attention_{name}", weights=weights)


def encoder_decoder(norm_first: bool) -> None:
    """The encoder-decoder of two layers a side, width 10, 2 heads, with padded sources."""
    b, s, l, d = 2, 11, 7, 10
    module = torch.nn.Transformer(d, 2, 2, 2, 13, 0.0, "relu", batch_first=True, norm_first=norm_first)
    if not norm_first:  # the paper has no norm after the last one
        module.encoder.norm = module.decoder.norm = None
    randomize(module, 11)
    source, target = normal(12, b, s, d), normal(13, b, l, d)
    padding = torch.arange(s)[None] >= torch.tensor([[11], [4]])
    causal = torch.triu(torch.ones(l, l, dtype=torch.bool), 1)
    y = module(source, target, tgt_mask=causal, src_key_padding_mask=padding, memory_key_padding_mask=padding)
    differentiate(f"transformer_{'pre' if norm_first else 'post'}", module, {"source": source, "target": target}, y=y)


def llama() -> None:
    """Rotary positions alone, and one layer with grouped queries, RMS norm, SwiGLU and rotary positions."""
    config = transformers.LlamaConfig(
        vocab_size=23, hidden_size=12, intermediate_size=17, num_hidden_layers=1, num_attention_heads=6,
        num_key_value_heads=3, max_position_embeddings=64, rms_norm_eps=1e-5, tie_word_embeddings=False,
        attn_implementation="eager",
    )  # fmt: skip
    model = randomize(transformers.LlamaForCausalLM(config), 21)
    tokens = torch.randint(0, 23, (2, 13), generator=torch.Generator().manual_seed(22))
    differentiate("llama", model, {"tokens": tokens}, y=model(tokens).logits)
    config = transformers.LlamaConfig(hidden_size=30, num_attention_heads=3, max_position_embeddings=64)
    x = normal(23, 2, 13, 3, 10)
    positions = torch.stack([torch.arange(13), torch.arange(13) * 2 + 5])
    cosine, sine = modeling_llama.LlamaRotaryEmbedding(config)(x, positions)
    y, _ = modeling_llama.apply_rotary_pos_emb(x, x, cosine, sine, unsqueeze_dim=2)
    store("rotary", x=x, positions=positions, y=y)


def t5() -> None:
    """Buckets of distances and the bias made of them, in both directions and in one."""
    distance = torch.arange(-301, 302)
    bucket = modeling_t5.T5Attention._relative_position_bucket
    for decoder in (False, True):
        name = "t5_decoder" if decoder else "t5_encoder"
        store(name, bucket=bucket(distance, bidirectional=not decoder))
        store(name, small=bucket(distance, bidirectional=not decoder, num_buckets=12, max_distance=50))
        config = transformers.T5Config(d_model=12, num_heads=3, d_kv=4, is_decoder=decoder)
        module = randomize(modeling_t5.T5Attention(config, has_relative_attention_bias=True, layer_idx=0), 31)
        store(name, table=module.relative_attention_bias.weight, bias=module.compute_bias(37, 37))


def bloom() -> None:
    """ALiBi slopes for several numbers of heads, and one attention layer of six heads with them."""
    ones = torch.ones(1, 2, dtype=torch.long)
    for heads in (1, 2, 3, 6, 8, 11, 12, 16, 20):
        scores = modeling_bloom.build_alibi_tensor(ones, heads, torch.float64)  # [heads, 1, 2]
        store("alibi", **{f"slopes_{heads}": scores[:, 0, 1]})
    b, l, d, h = 2, 13, 18, 6
    config = transformers.BloomConfig(hidden_size=d, n_head=h, hidden_dropout=0.0, attention_dropout=0.0)
    module = randomize(modeling_bloom.BloomAttention(config, layer_idx=0), 41)
    x = normal(42, b, l, d)
    scores = modeling_bloom.build_alibi_tensor(torch.ones(b, l, dtype=torch.long), h, torch.float64)
    mask = torch.triu(torch.full((l, l), -1e30, dtype=torch.float64), 1)[None, None]
    y = module(x, torch.zeros_like(x), scores, mask)[0]
    differentiate("bloom", module, {"x": x}, y=y)


def bert() -> None:
    """Two layers of BERT with both heads, padded and in two segments."""
    config = transformers.BertConfig(
        vocab_size=29, hidden_size=9, num_hidden_layers=2, num_attention_heads=3, intermediate_size=13,
        max_position_embeddings=17, attn_implementation="eager",
    )  # fmt: skip
    model = randomize(transformers.BertForPreTraining(config), 51)
    generator = torch.Generator().manual_seed(52)
    tokens = torch.randint(1, 29, (3, 13), generator=generator)  # the peer stops the gradient of token 0, its padding
    segments = torch.randint(0, 2, (3, 13), generator=generator)
    lengths = torch.tensor([13, 5, 8])
    mask = (torch.arange(13)[None] < lengths[:, None]).long()
    out = model(tokens, attention_mask=mask, token_type_ids=segments)
    masked = out.prediction_logits * mask[:, :, None]
    inputs = {"tokens": tokens, "segments": segments, "lengths": lengths}
    differentiate("bert", model, inputs, masked=masked, next=out.seq_relationship_logits)


def gpt2() -> None:
    """Two layers of GPT-2."""
    config = transformers.GPT2Config(
        vocab_size=31, n_positions=17, n_embd=9, n_layer=2, n_head=3, attn_implementation="eager"
    )
    model = randomize(transformers.GPT2LMHeadModel(config), 61)
    tokens = torch.randint(0, 31, (2, 13), generator=torch.Generator().manual_seed(62))
    differentiate("gpt2", model, {"tokens": tokens}, y=model(tokens).logits)


if __name__ == "__main__":
    attention()
    encoder_decoder(norm_first=False)
    encoder_decoder(norm_first=True)
    llama()
    t5()
    bloom()
    bert()
    gpt2()
    np.savez_compressed(pathlib.Path(__file__).with_suffix(".npz"), **ARRAYS)
