"""Whether language models give the same here and in transformers, and whether each reads what the other wrote.

    python -m benchmarks.parity --peer PYTHON [--llama FILE.gguf] [--sentences FOLDER] [--output FOLDER]

--peer, or CETERIS_PEER, is a Python with PyTorch and transformers. It writes a small folder of every kind, with random
parameters and what it gives for rows with padding; `read` is how far what is computed here lies from that, as a share
of its greatest number. The models are then written by `save_pretrained`, with a tokenizer, and read by transformers:
`written` is how far what it gives then lies from what it gave, `keys` how many were missing, left over or of another
shape, and `ids` whether a text has the same. The exit code is 1 where anything differs, outputs by more than 1e-5.

--llama compares a published model with transformers' own reading of its file: logits of random tokens, the perplexity
of prose, docstrings of Python's library, and the 32 tokens that follow its first 16 as each writes them, with tokens a
second. --sentences compares vectors, and takes a folder of sentence-transformers that has the mean at length one.
"""

import argparse
import collections
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tokenizers

from benchmarks.drawing import Bars
from benchmarks.machine import heading, machine
from benchmarks.writing import PEERS, add_peer, parser_of, say_where, without_peer, write
from research.generation import Options, generate
from research.interchange import from_pretrained, save_pretrained
from research.models.model import model_inputs

MOST = 1e-5
LENGTH = 256
SENTENCES = ("A man is eating food.", "Someone is having a meal, quietly.", "The stock market fell.", "Ça va?")


def outputs(folder: Path, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Return what the model of a folder gives, in the order of its outputs, zero where rows are padding."""
    model, params, _ = from_pretrained(folder)
    out = jax.jit(model.apply)({"params": params}, model_inputs(model, arrays))
    b, l = arrays["tokens"].shape
    counts = np.arange(l)[None] < arrays["lengths"][:, None]
    of_tokens = "targets" not in model.reads
    found = out.values() if isinstance(out, dict) else out if isinstance(out, tuple) else (out,)
    return [np.where(counts[:, :, None], y, 0) if y.ndim == 3 and of_tokens else np.asarray(y) for y in found]


def distance(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    """Return the greatest difference, as a share of the greatest number of an output."""
    pairs = zip(found, expected, strict=True)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def words() -> tuple[Any, str]:
    """Return a tokenizer of fewer words than the models have ids, and a text."""
    names = {f"w{index}": index for index in range(90)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(names, unk_token="w0"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    return tokenizer, "w3 w89 unknown w1"


def measured(peer: str, root: Path) -> dict[str, dict[str, Any]]:
    """Return the differences of every kind of model."""
    script = [peer, str(PEERS / "parity.py")]
    (root / "theirs").mkdir()
    (root / "ours").mkdir()
    tokenizer, text = words()
    (root / "text").write_text(text)
    subprocess.run([*script, "make", str(root)], check=True)
    expected, rows = {}, {}
    for folder in sorted(path for path in (root / "theirs").iterdir() if path.is_dir()):
        name = folder.name
        arrays = dict(np.load(folder.with_name(f"{name}.npz")))
        given = {entry: arrays.pop(entry) for entry in ("tokens", "targets", "lengths")}
        expected[name] = list(arrays.values())
        rows[name] = {"read": distance(outputs(folder, given), expected[name])}
        model, params, _ = from_pretrained(folder)
        save_pretrained(model, params, root / "ours" / name, tokenizer)
    subprocess.run([*script, "load", str(root)], check=True)
    for name, row in rows.items():
        told = json.loads((root / "ours" / f"{name}.json").read_text())
        row["keys"] = sum(map(len, told["keys"].values()))
        row["ids"] = told["ids"] == tokenizer.encode(text).ids
        row["written"] = distance(list(dict(np.load(root / "ours" / f"{name}.npz")).values()), expected[name])
    return rows


def llama(peer: str, root: Path, file: Path) -> dict[str, Any]:
    """Return what a published model in a GGUF file gives on both sides."""
    model, params, tokenizer = from_pretrained(file)
    random = np.random.default_rng(0).integers(0, model.vocabulary, (1, LENGTH), np.int32)
    text = "\n\n".join(module.__doc__ or "" for module in (argparse, collections, os, subprocess, tempfile, json))
    prose = np.array([tokenizer.encode(text).ids[:LENGTH]], np.int32)
    save_pretrained(model, params, root / "llama", tokenizer, like=file)
    np.savez(root / "llama.npz", random=random, prose=prose)
    subprocess.run([peer, str(PEERS / "parity.py"), "llama", str(root), str(file)], check=True)
    theirs = dict(np.load(root / "llama.theirs.npz"))
    call = jax.jit(model.apply)
    logits = call({"params": params}, random)
    found = jax.nn.log_softmax(call({"params": params}, prose))[0, :-1]
    loss = -np.take_along_axis(np.asarray(found), prose[0, 1:, None], 1).mean()
    prompt, options = tokenizer.decode(prose[0, :16].tolist()), Options(tokens=32, temperature=0.0)
    seconds = []
    for _ in range(4):  # the first of which compiles
        begun = time.perf_counter()
        (written,) = generate(model, params, tokenizer, [prompt], options, jax.random.key(0))
        seconds.append(time.perf_counter() - begun)
    return {
        "logits": distance([np.asarray(logits)], [theirs["logits"]]),
        "perplexity": [float(np.exp(loss)), float(np.exp(theirs["loss"]))],
        "written": written == tokenizer.decode(theirs["written"].tolist()),
        "tokens_per_second": [32 / min(seconds), 32 / float(theirs["seconds"])],
    }


def sentences(peer: str, root: Path, folder: Path) -> dict[str, Any]:
    """Return how far vectors of sentences lie from theirs."""
    model, params, tokenizer = from_pretrained(folder)
    texts = [tokenizer.encode(text).ids for text in SENTENCES]
    lengths = np.array([len(ids) for ids in texts], np.int32)
    tokens = np.array([ids + [0] * (max(lengths) - len(ids)) for ids in texts], np.int32)
    np.savez(root / "sentences.npz", tokens=tokens, lengths=lengths)
    subprocess.run([peer, str(PEERS / "parity.py"), "sentences", str(root), str(folder)], check=True)
    vectors = np.asarray(jax.jit(model.apply)({"params": params}, {"tokens": tokens, "lengths": lengths}))
    theirs = np.load(root / "sentences.theirs.npz")["vectors"]
    return {
        "vectors": distance([vectors], [theirs]),
        "cosine": [round(float(cosine), 4) for cosine in vectors @ vectors[0]],
    }


def main() -> None:
    """Compare every kind of model, print a table and write both files."""
    parser = parser_of(__doc__, "parity")
    parser.add_argument("--llama", type=Path, help="FILE.gguf of a published model")
    parser.add_argument("--sentences", type=Path, help="folder of sentence-transformers")
    add_peer(parser, "torch", "transformers")
    arguments = parser.parse_args()
    if arguments.peer is None:
        return without_peer("parity with transformers")
    found = machine()
    print(heading(found))
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(arguments.peer, Path(folder))
        published = {
            name: compare(arguments.peer, Path(folder), source)
            for name, compare, source in (
                ("llama", llama, arguments.llama),
                ("sentences", sentences, arguments.sentences),
            )
            if source is not None
        }
    print(f"\n{'':<20}{'read':>10}{'written':>10}{'keys':>6}{'ids':>8}")
    for name, row in rows.items():
        same = "same" if row["ids"] else "other"
        print(f"{name:<20}{row['read']:>10.1e}{row['written']:>10.1e}{row['keys']:>6}{same:>8}")
    for name, found_of in published.items():
        print(f"{name}: {', '.join(f'{key} {value}' for key, value in found_of.items())}")
    bars = {name: [row["read"]] for name, row in rows.items()}
    content = {"machine": found, "models": rows, "published": published}
    write(arguments.output, "parity", content, [Bars("read", "share", bars, (), log=True)])
    say_where(arguments.output, "parity")
    differing = any(row["keys"] or not row["ids"] or max(row["read"], row["written"]) > MOST for row in rows.values())
    if differing or not all(map(alike, published.values())):
        sys.exit(1)


def alike(found: dict[str, Any]) -> bool:
    """Return whether a published model is the same on both sides: its perplexity to four places, its text whole."""
    ours, theirs = found.get("perplexity", (0.0, 0.0))
    distances = [found[name] for name in ("logits", "vectors") if name in found]
    return max(distances) <= MOST and abs(ours - theirs) <= 1e-4 * theirs and found.get("written", True)


if __name__ == "__main__":
    main()
