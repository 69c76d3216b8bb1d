"""Makes published_FAMILY.npz: tiny folders as transformers writes them, and what its models give, with gradients.

    python tests/golden/published.py [FAMILY ...]

Needs PyTorch (2.13.0 was used, on CPU) and transformers (5.24.0), which are not dependencies of the project. Arrays
are named CASE/NAME: the bytes of `config.json` and `model.safetensors`, inputs, outputs, a weight for every output, and
CASE/gradient/NAME of sum(weight * output), by the names of tensors. Weights are zero where rows are padding. Parameters
are float32 and random; the computation is float64 where the library allows it.
"""

import pathlib
import sys
import tempfile

import numpy as np
import torch
import transformers

B, L = 3, 11
LENGTHS = torch.tensor([11, 4, 7])
COUNTS = torch.arange(L)[None] < LENGTHS[:, None]


def tokens(vocabulary: int, seed: int, l: int = L) -> torch.Tensor:
    """Return random ids [b, l] but 0, whose gradient some models of the peer stop."""
    return torch.randint(1, vocabulary, (B, l), generator=torch.Generator().manual_seed(seed))


def randomized(model: torch.nn.Module) -> torch.nn.Module:
    """Return the model in evaluation mode, with every parameter drawn: those of norms about 1, others about 0."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * 0.3
            parameter.copy_(1 + noise if parameter.ndim == 1 and "bias" not in name else noise)
    return model.eval()


def case(name: str, model: torch.nn.Module, inputs: dict, call: dict, outputs: dict) -> dict[str, np.ndarray]:
    """Return all arrays of a case; `outputs` are ours by name: the peer's name, and where they count."""
    randomized(model)
    found: dict[str, np.ndarray] = {}
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        for path in sorted(pathlib.Path(folder).iterdir()):
            if path.name in ("config.json", "model.safetensors"):
                found[path.name] = np.frombuffer(path.read_bytes(), np.uint8)
    given = model.double()(**call)
    loss = torch.zeros((), dtype=torch.float64)
    for index, (ours, (theirs, counts)) in enumerate(outputs.items()):
        y = given[theirs].double()
        weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(index)).double()
        if counts is not None:
            weight = weight * counts.reshape(*counts.shape, *[1] * (y.ndim - counts.ndim))
        loss = loss + (weight * y).sum()
        found[ours], found[f"weight_{ours}"] = y.detach().float().numpy(), weight.float().numpy()
    loss.backward()
    for parameter, tensor in model.named_parameters():
        if tensor.grad is not None:
            found[f"gradient/{parameter}"] = tensor.grad.float().numpy()
    found |= {entry: array.numpy().astype(np.int32) for entry, array in inputs.items()}
    return {f"{name}/{entry}": array for entry, array in found.items()}


def decoder(name: str, model: torch.nn.Module, vocabulary: int) -> dict[str, np.ndarray]:
    """Return a case of a language model, of rows with padding at the end."""
    ids = tokens(vocabulary, 1)
    call = {"input_ids": ids, "attention_mask": COUNTS.long()}
    return case(name, model, {"tokens": ids, "lengths": LENGTHS}, call, {"logits": ("logits", COUNTS)})


def gpt2() -> dict[str, np.ndarray]:
    """GPT-2 of two layers."""
    config = transformers.GPT2Config(
        vocab_size=31, n_positions=17, n_embd=15, n_layer=2, n_head=3, attn_implementation="eager"
    )
    return decoder("gpt2", transformers.GPT2LMHeadModel(config), 31)


def llama() -> dict[str, np.ndarray]:
    """Llama of two layers, with fewer heads of keys than of queries, each wider than its share; and a tied one."""
    sizes = {
        "vocab_size": 31, "hidden_size": 24, "intermediate_size": 13, "num_hidden_layers": 2,
        "max_position_embeddings": 17, "rms_norm_eps": 1e-5, "attn_implementation": "eager",
    }  # fmt: skip
    grouped = transformers.LlamaConfig(
        **sizes, num_attention_heads=6, num_key_value_heads=3, head_dim=8, rope_theta=500.0
    )
    tied = transformers.LlamaConfig(**sizes, num_attention_heads=4, tie_word_embeddings=True)
    return decoder("llama", transformers.LlamaForCausalLM(grouped), 31) | decoder(
        "llama_tied", transformers.LlamaForCausalLM(tied), 31
    )


def bert() -> dict[str, np.ndarray]:
    """BERT of two layers: bare, with the heads of its pretraining, and with that of a classifier."""
    sizes = {
        "vocab_size": 29, "hidden_size": 15, "num_hidden_layers": 2, "num_attention_heads": 3,
        "intermediate_size": 13, "max_position_embeddings": 17, "attn_implementation": "eager",
    }  # fmt: skip
    ids = tokens(29, 2)
    segments = torch.randint(0, 2, (B, L), generator=torch.Generator().manual_seed(3))
    inputs = {"tokens": ids, "segments": segments, "lengths": LENGTHS}
    call = {"input_ids": ids, "attention_mask": COUNTS.long(), "token_type_ids": segments}
    bare = transformers.BertModel(transformers.BertConfig(**sizes))
    heads = transformers.BertForPreTraining(transformers.BertConfig(**sizes))
    classifier = transformers.BertForSequenceClassification(transformers.BertConfig(**sizes, num_labels=5))
    hidden = {"hidden": ("last_hidden_state", COUNTS), "pooled": ("pooler_output", None)}
    both = {"masked": ("prediction_logits", COUNTS), "next": ("seq_relationship_logits", None)}
    return {
        **case("bert", bare, inputs, call, hidden),
        **case("bert_pretraining", heads, inputs, call, both),
        **case("bert_classifier", classifier, inputs, call, {"logits": ("logits", None)}),
    }


def t5() -> dict[str, np.ndarray]:
    """T5 of two layers a stack, of both versions, whose heads together are wider than the model.

    The later version has an output layer of its own, which the peer keeps where it is in the file that it reads.
    """
    found: dict[str, np.ndarray] = {}
    for version, fields in {
        "t5": {},
        "t5_later": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    }.items():
        config = transformers.T5Config(
            vocab_size=31, d_model=14, d_kv=8, d_ff=13, num_layers=2, num_heads=3, decoder_start_token_id=0,
            attn_implementation="eager", **fields,
        )  # fmt: skip
        ids, targets = tokens(31, 4), tokens(31, 5, 7)
        inputs = {"tokens": ids, "lengths": LENGTHS, "targets": targets}
        call = {"input_ids": ids, "attention_mask": COUNTS.long(), "decoder_input_ids": targets}
        model = transformers.T5ForConditionalGeneration(config)
        if fields:
            model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
        found |= case(version, model, inputs, call, {"logits": ("logits", None)})
    return found


if __name__ == "__main__":
    for family in sys.argv[1:] or ["gpt2", "llama", "bert", "t5"]:
        path = pathlib.Path(__file__).with_name(f"published_{family}.npz")
        np.savez_compressed(path, **globals()[family]())
        print(f"{path.name}: {path.stat().st_size:,} bytes")
