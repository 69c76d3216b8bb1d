"""GGUF files: what they say of a model, and its tensors, dequantised.

A file begins with entries by name, and with where each tensor lies. Both are read here, as the package gguf takes
seconds for a vocabulary and believes what a file says of sizes. The kinds of quantised numbers are the package's; a
file of floating-point numbers alone is read without it.
"""

import dataclasses
import io
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import jax.numpy as jnp
import numpy as np

from research.errors import UsageError

GGUF = ".gguf"
VERSIONS = (2, 3)
NUMBERS = dict(enumerate(("B", "b", "<H", "<h", "<I", "<i", "<f", "?"))) | {10: "<Q", 11: "<q", 12: "<d"}
"""How `struct` has the kinds of single entries."""
FLOAT, WORD, LIST = 6, 8, 9
PLAIN: Mapping[int, Any] = {0: np.dtype("<f4"), 1: np.dtype("<f2"), 30: np.dtype(jnp.bfloat16), 28: np.dtype("<f8")}
"""Kinds of tensors that are arrays as they lie."""
AXES = 4
"""As many as the format lets a tensor have."""


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a tensor lies behind the header: its shape, the last axis innermost, the kind of its numbers, its start."""

    shape: tuple[int, ...]
    kind: int
    start: int


@dataclasses.dataclass(frozen=True)
class Header:
    """What a file says before its tensors."""

    entries: Mapping[str, Any]
    places: Mapping[str, Place]
    start: int
    """Where in the file the tensors begin."""


def read_header(file: Path) -> Header:
    """Return what a file says before its tensors, which are not read.

    Raises:
        UsageError: the file is not there, or damaged.
    """
    try:
        with file.open("rb") as opened:
            return header_of(opened, file.stat().st_size)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    except UsageError as error:
        raise UsageError(f"cannot read {file}: {error}") from error


def read_gguf(content: bytes) -> tuple[Mapping[str, Any], dict[str, np.ndarray]]:
    """Return the entries of a file and its tensors by name, quantised ones as float32.

    Raises:
        UsageError: it is no such file, or damaged; it has quantised numbers, and the package is not installed.
    """
    header = header_of(io.BytesIO(content), len(content))
    return header.entries, {name: _array(content, header, name) for name in header.places}


def header_of(opened: BinaryIO, size: int) -> Header:
    """Return what stands before the tensors. Raises `UsageError` where it is no such file, or damaged."""
    if opened.read(4) != b"GGUF":
        raise UsageError("it is no GGUF file")
    try:
        return _header(_Reader(opened, size))
    except ValueError as error:
        raise UsageError(f"it is a damaged GGUF file ({error})") from error


class _Reader:
    """Takes what comes next of a file, and never more than is left of it. Raises `ValueError` where there is less."""

    def __init__(self, opened: BinaryIO, size: int) -> None:
        self._opened, self._size = opened, size

    def bytes(self, count: int) -> bytes:
        """Return so many bytes."""
        if count > self.left():
            raise ValueError("it ends too early")
        return self._opened.read(count)

    def left(self) -> int:
        """Return how many bytes there are still."""
        return self._size - self._opened.tell()

    def at(self) -> int:
        """Return how many bytes were taken."""
        return self._opened.tell()

    def number(self, form: str) -> Any:
        """Return a number as `struct` knows it."""
        return struct.unpack(form, self.bytes(struct.calcsize(form)))[0]

    def word(self) -> str:
        """Return a text."""
        return self.bytes(self.number("<Q")).decode()

    def entry(self, kind: int) -> Any:
        """Return what stands for an entry of a kind; float32 as the shortest number that is rounded to it."""
        if kind == WORD:
            return self.word()
        if kind == LIST:
            return self._list(self.number("<I"), self.number("<Q"))
        if kind not in NUMBERS:
            raise ValueError(f"it has an entry of kind {kind}")
        found = self.number(NUMBERS[kind])
        return float(str(np.float32(found))) if kind == FLOAT else found

    def _list(self, kind: int, count: int) -> list[Any]:
        """Return a list of entries of a kind, none of which may be a list."""
        if kind == WORD:
            return [self.word() for _ in range(count)]  # each takes bytes, so a count that lies ends with the file
        if kind not in NUMBERS:
            raise ValueError(f"it has a list of kind {kind}")
        form = NUMBERS[kind]
        numbers = self.bytes(count * struct.calcsize(form))
        return np.frombuffer(numbers, np.dtype(form)).tolist()


def _header(reader: _Reader) -> Header:
    """Return what stands before the tensors, of a file of which the first word was taken."""
    if (version := reader.number("<I")) not in VERSIONS:
        raise ValueError(f"of version {version}, where {' and '.join(map(str, VERSIONS))} are read")
    tensors, count = reader.number("<Q"), reader.number("<Q")
    entries: dict[str, Any] = {}
    for _ in range(count):
        name = reader.word()
        if name in entries:
            raise ValueError("an entry is there twice")
        entries[name] = reader.entry(reader.number("<I"))
    places: dict[str, Place] = {}
    for _ in range(tensors):
        name, axes = reader.word(), reader.number("<I")
        if name in places or axes > AXES:
            raise ValueError("a tensor is there twice" if name in places else "a tensor has too many axes")
        shape = tuple(reader.number("<Q") for _ in range(axes))[::-1]
        if 0 in shape:
            raise ValueError("a tensor is empty")
        places[name] = Place(shape, reader.number("<I"), reader.number("<Q"))
    alignment = entries.get("general.alignment", 32)
    if not isinstance(alignment, int) or alignment < 1:
        raise ValueError("its alignment is none")
    return Header(entries, places, -(-reader.at() // alignment) * alignment)


def _array(content: bytes, header: Header, name: str) -> np.ndarray:
    """Return a tensor, a quantised one as float32."""
    place = header.places[name]
    start = header.start + place.start
    if place.kind in PLAIN:
        numbers = PLAIN[place.kind]
        return _lying(content, start, math.prod(place.shape), numbers, name).reshape(place.shape)
    try:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, dequantize
    except ImportError:
        raise UsageError('its quantised numbers need a package: pip install "ceteris-research[gguf]"') from None
    if place.kind not in set(GGMLQuantizationType):
        raise UsageError(f'"{name}" in it has numbers of kind {place.kind}, which is not known')
    kind = GGMLQuantizationType(place.kind)
    block, size = GGML_QUANT_SIZES[kind]
    if not place.shape or place.shape[-1] % block:
        raise UsageError(f'it is a damaged GGUF file ("{name}" has rows that are no blocks)')
    rows = (*place.shape[:-1], place.shape[-1] // block * size)
    lying = _lying(content, start, math.prod(rows), np.dtype(np.uint8), name)
    try:
        return dequantize(lying.reshape(rows), kind)
    except NotImplementedError:
        raise UsageError(f'"{name}" in it has numbers of kind {kind.name}, which the package does not read') from None


def _lying(content: bytes, start: int, count: int, numbers: np.dtype, name: str) -> np.ndarray:
    """Return so many numbers from where they lie. Raises `UsageError` where the file ends before."""
    if start + count * numbers.itemsize > len(content):
        raise UsageError(f'it is a damaged GGUF file (it ends before "{name}" does)')
    return np.frombuffer(content, numbers, count, start)
