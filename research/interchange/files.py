"""Files of tensors by name: safetensors, read and written, PyTorch's own and those of Llamas as GGUF, read."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from research.errors import UsageError
from research.interchange.gguf.file import GGUF, read_gguf
from research.interchange.tensors import Tensors
from research.interchange.torch_files import read_torch
from research.models.text.published import llama_gguf

TORCH = (".pth", ".pt", ".bin")
ALONE = (".safetensors", *TORCH)
"""Files that hold tensors and nothing of the model that they are of."""
SUFFIXES = (*ALONE, GGUF)
TYPES: dict[str, Any] = {
    "F64": np.float64,
    "F32": np.float32,
    "F16": np.float16,
    "BF16": jnp.bfloat16,  # which NumPy does not have: the reader that comes with the package refuses it
    "I64": np.int64,
    "I32": np.int32,
    "I16": np.int16,
    "I8": np.int8,
    "U64": np.uint64,
    "U32": np.uint32,
    "U16": np.uint16,
    "U8": np.uint8,
    "BOOL": np.bool_,
}
"""How safetensors names kinds of numbers."""


def read_tensors(file: str | Path) -> tuple[Tensors, str]:
    """Return the tensors of a file by name, and the SHA-256 of the file, of the very bytes they were read from.

    Those of a GGUF file have the names and the order of rows of transformers.

    Raises:
        UsageError: the file is not there, is of another kind, damaged, or holds anything but tensors.
    """
    path = Path(file)
    if path.suffix not in SUFFIXES:
        raise UsageError(f"{path} is no file of weights by its name, which ends in {' or '.join(SUFFIXES)}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    try:
        tensors = _read(content, path.suffix)
    except UsageError as error:
        raise UsageError(f"cannot read {path}: {error}") from error
    return tensors, hashlib.sha256(content).hexdigest()


def write_tensors(file: str | Path, tensors: Mapping[str, np.ndarray], origin: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, whose header says where the tensors come from; equal ones make equal files.

    Raises:
        UsageError: the package is not installed.
    """
    _check_installed()
    from safetensors.numpy import save_file

    # It takes the memory behind an array as it lies there: that of a transposed one is in another order.
    whole = {name: np.asarray(tensor, order="C") for name, tensor in tensors.items()}
    save_file(whole, file, {**(origin or {}), "format": "pt"})  # some readers refuse a file without a format
    _order_header(Path(file))


def _order_header(file: Path) -> None:
    """Bring the entries that say where tensors come from into one order; the library's is another one each time."""
    with file.open("r+b") as opened:
        size = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
        opened.seek(8)
        opened.write(text.ljust(size))  # the format has headers end in blanks


def _read(content: bytes, suffix: str) -> Tensors:
    """Return the tensors of a file whose name ends so."""
    if suffix == GGUF:
        metadata, tensors = read_gguf(content)
        return llama_gguf.renamed(tensors, llama_gguf.entries(metadata, tensors))
    return read_torch(content) if suffix in TORCH else _read_safetensors(content)


def _read_safetensors(content: bytes) -> Tensors:
    """Return the tensors of a safetensors file."""
    _check_installed()
    from safetensors import SafetensorError, deserialize

    try:
        tensors = {
            name: np.frombuffer(found["data"], TYPES[found["dtype"]]).reshape(found["shape"])
            for name, found in deserialize(content)
        }
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")], object_pairs_hook=_once)
        if header.keys() - {"__metadata__"} != tensors.keys():
            raise ValueError("its header and its tensors differ")
        return tensors
    except (SafetensorError, ValueError) as error:  # ValueError: more axes than NumPy has
        raise UsageError(f"it is no safetensors file, or damaged ({error})") from error
    except KeyError as error:
        raise UsageError(f"it has numbers of type {error.args[0]}, which are not read: save it as float32") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of JSON. Raises `ValueError` where a name is there twice: readers differ in which they take."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name is there twice")
    return found


def _check_installed() -> None:
    """Raise `UsageError` naming the extra to install, unless the package is there."""
    try:
        import safetensors  # noqa: F401
    except ImportError:
        raise UsageError('.safetensors files need a package: pip install "ceteris-research[weights]"') from None
