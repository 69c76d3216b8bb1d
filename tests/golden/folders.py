"""Folders as transformers wrote them, and what its models gave: the cases of published.py."""

import functools
import pathlib

import numpy as np

FAMILIES = {
    "gpt2": "gpt2",
    "llama": "llama",
    "llama_tied": "llama",
    "bert": "bert",
    "bert_pretraining": "bert",
    "bert_classifier": "bert",
    "t5": "t5",
    "t5_later": "t5",
}
"""By case."""


@functools.cache
def golden(case: str) -> dict[str, np.ndarray]:
    """Return all arrays of a case by name."""
    with np.load(pathlib.Path(__file__).with_name(f"published_{FAMILIES[case]}.npz")) as archive:
        names = [name for name in archive if name.startswith(f"{case}/")]
        return {name.removeprefix(f"{case}/"): archive[name] for name in names}


def write(case: str, folder: pathlib.Path) -> pathlib.Path:
    """Write the folder of a case; return it."""
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes(golden(case)[name].tobytes())
    return folder
