"""Whether language models give the same here and in transformers, and whether each reads what the other wrote.

    python -m benchmarks.parity --peer PYTHON [--output FOLDER]

--peer, or CETERIS_PEER, is a Python with PyTorch and transformers. It writes a small folder of every kind, with random
parameters and what it gives for rows with padding; `read` is how far what is computed here lies from that, as a share
of its greatest number. The models are then written by `save_pretrained`, with a tokenizer, and read by transformers:
`written` is how far what it gives then lies from what it gave, `keys` how many were missing, left over or of another
shape, and `ids` whether a text has the same. The exit code is 1 where anything differs, outputs by more than 1e-5.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import tokenizers

from benchmarks.drawing import Bars
from benchmarks.machine import heading, machine
from benchmarks.writing import PEERS, add_peer, parser_of, say_where, without_peer, write
from research.interchange import from_pretrained, save_pretrained
from research.models.model import model_inputs

MOST = 1e-5


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


def main() -> None:
    """Compare every kind of model, print a table and write both files."""
    parser = parser_of(__doc__, "parity")
    add_peer(parser, "torch", "transformers")
    arguments = parser.parse_args()
    if arguments.peer is None:
        return without_peer("parity with transformers")
    found = machine()
    print(heading(found))
    with tempfile.TemporaryDirectory() as folder:
        rows = measured(arguments.peer, Path(folder))
    print(f"\n{'':<20}{'read':>10}{'written':>10}{'keys':>6}{'ids':>8}")
    for name, row in rows.items():
        same = "same" if row["ids"] else "other"
        print(f"{name:<20}{row['read']:>10.1e}{row['written']:>10.1e}{row['keys']:>6}{same:>8}")
    bars = {name: [row["read"]] for name, row in rows.items()}
    write(arguments.output, "parity", {"machine": found, "models": rows}, [Bars("read", "share", bars, (), log=True)])
    say_where(arguments.output, "parity")
    if any(row["keys"] or not row["ids"] or max(row["read"], row["written"]) > MOST for row in rows.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
