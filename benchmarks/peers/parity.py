"""Models of transformers: written into folders with what they give, or read from folders that were written elsewhere.

python benchmarks/peers/parity.py make ROOT      # ROOT/theirs/CASE, and ROOT/theirs/CASE.npz
python benchmarks/peers/parity.py load ROOT      # reads ROOT/ours/CASE, writes ROOT/ours/CASE.npz and .json
python benchmarks/peers/parity.py llama ROOT FILE          # of FILE.gguf, with ROOT/llama.npz and ROOT/llama
python benchmarks/peers/parity.py sentences ROOT FOLDER    # of FOLDER, with ROOT/sentences.npz

llama needs the packages gguf and accelerate. It writes ROOT/llama.theirs.npz, the other ROOT/sentences.theirs.npz.
"""

import json
import pathlib
import sys
import time

import numpy as np
import torch
import transformers

B, L, VOCABULARY = 4, 23, 97
BLOCKS = {"hidden_size": 48, "num_hidden_layers": 3, "num_attention_heads": 6, "vocab_size": VOCABULARY}
BERT = {**BLOCKS, "intermediate_size": 80, "max_position_embeddings": 32}
LLAMA = {**BERT, "max_position_embeddings": 64}
T5 = {"vocab_size": VOCABULARY, "d_model": 48, "d_kv": 16, "d_ff": 80, "num_layers": 3, "num_heads": 6}
CASES = {
    "gpt2": (
        transformers.GPT2LMHeadModel,
        {"vocab_size": VOCABULARY, "n_positions": 32, "n_embd": 48, "n_layer": 3, "n_head": 6},
    ),
    "llama": (transformers.LlamaForCausalLM, {**LLAMA, "num_key_value_heads": 2, "head_dim": 16}),
    "llama, tied": (transformers.LlamaForCausalLM, {**LLAMA, "tie_word_embeddings": True}),
    "bert": (transformers.BertModel, BERT),
    "bert, pretraining": (transformers.BertForPreTraining, BERT),
    "bert, classifier": (transformers.BertForSequenceClassification, {**BERT, "num_labels": 5}),
    "t5": (transformers.T5ForConditionalGeneration, T5),
    "t5, 1.1": (
        transformers.T5ForConditionalGeneration,
        {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
}


def inputs() -> dict[str, np.ndarray]:
    """Return random tokens with padding, which all cases are given."""
    generator = np.random.default_rng(0)
    ids = generator.integers(1, VOCABULARY, (2, B, L), np.int32)
    return {"tokens": ids[0], "targets": ids[1], "lengths": np.array([23, 5, 11, 1], np.int32)}


@torch.no_grad()
def outputs(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """Return what a model gives, zero where rows of a sequence are padding."""
    given = {name: torch.from_numpy(array).long() for name, array in inputs().items()}
    counts = torch.arange(L)[None] < given["lengths"][:, None]
    call = {"input_ids": given["tokens"], "attention_mask": counts.long()}
    writes = model.config.is_encoder_decoder
    found = model.eval()(**call, **({"decoder_input_ids": given["targets"]} if writes else {}))
    names = ("logits", "last_hidden_state", "pooler_output", "prediction_logits", "seq_relationship_logits")
    kept = {}
    for name in names:
        if (y := found.get(name)) is not None:
            of_tokens = y.ndim == 3 and not writes
            kept[name] = (torch.where(counts[:, :, None], y, 0) if of_tokens else y).numpy()
    return kept


def make(root: pathlib.Path) -> None:
    """Write every case, its matrices larger than they begin, so that what is wrong shows."""
    for name, (cls, fields) in CASES.items():
        torch.manual_seed(0)
        model = cls(cls.config_class(**fields))
        if fields.get("feed_forward_proj") == "gated-gelu":  # of version 1.1, which has an output layer of its own
            model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape))
        model.save_pretrained(root / "theirs" / name)
        np.savez(root / "theirs" / f"{name}.npz", **inputs(), **outputs(model))


def load(root: pathlib.Path) -> None:
    """Read every case that is there and say which keys were missing, left over, or of another shape, and some ids."""
    for name, (cls, _) in CASES.items():
        if (root / "ours" / name).exists():
            model, told = cls.from_pretrained(root / "ours" / name, output_loading_info=True)
            keys = {
                kind: sorted(map(str, told[kind])) for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
            }
            tokenizer = transformers.AutoTokenizer.from_pretrained(root / "ours" / name)
            found = {"keys": keys, "ids": tokenizer((root / "text").read_text()).input_ids}
            (root / "ours" / f"{name}.json").write_text(json.dumps(found))
            np.savez(root / "ours" / f"{name}.npz", **outputs(model))


@torch.no_grad()
def llama(root: pathlib.Path, file: pathlib.Path) -> None:
    """Read a GGUF file for the logits of random tokens; read what was written of it for the rest, as that is faster."""
    given = {name: torch.from_numpy(array).long() for name, array in np.load(root / "llama.npz").items()}
    quantised = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name).eval()
    logits = quantised(given["random"]).logits.float().numpy()
    del quantised
    model = transformers.AutoModelForCausalLM.from_pretrained(root / "llama", dtype=torch.float32).eval()
    found = torch.log_softmax(model(given["prose"]).logits[:, :-1], -1)
    losses = -found.gather(-1, given["prose"][:, 1:, None])[..., 0]
    prompt, count = given["prose"][:1, :16], 32
    seconds = []
    for _ in range(3):
        begun = time.perf_counter()
        written = model.generate(prompt, do_sample=False, min_new_tokens=count, max_new_tokens=count)
        seconds.append(time.perf_counter() - begun)
    np.savez(
        root / "llama.theirs.npz", logits=logits, loss=losses.mean(), seconds=min(seconds), written=written[0, 16:]
    )


@torch.no_grad()
def sentences(root: pathlib.Path, folder: pathlib.Path) -> None:
    """Take the mean of the states that count, and bring it to length one."""
    given = {name: torch.from_numpy(array).long() for name, array in np.load(root / "sentences.npz").items()}
    counts = torch.arange(given["tokens"].shape[1])[None] < given["lengths"][:, None]
    model = transformers.AutoModel.from_pretrained(folder).eval()
    states = model(input_ids=given["tokens"], attention_mask=counts.long()).last_hidden_state
    mean = (states * counts[..., None]).sum(1) / counts.sum(1, keepdim=True)
    np.savez(root / "sentences.theirs.npz", vectors=torch.nn.functional.normalize(mean).numpy())


if __name__ == "__main__":
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    command, *paths = sys.argv[1:]
    {"make": make, "load": load, "llama": llama, "sentences": sentences}[command](*map(pathlib.Path, paths))
