"""Text files of a folder as a dataset: which of them are read, and how they are split.

A file answers what a text does, as far as splits ask, and is read a block at a time, so that none is held in memory.
"""

import codecs
import dataclasses
import functools
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from research.data.splits import Split
from research.errors import UsageError

SUFFIXES = (".txt", ".md", ".rst", ".py")
NAMED = 20  # files that an error names
FEW = 10  # with fewer files the text itself is cut


_BLOCK = 2**20  # bytes or characters at a time; between two blocks Python heeds signals


@dataclasses.dataclass(frozen=True)
class File:
    """A stretch of the text of a file, and what may follow it; two that hold the same are equal."""

    name: str = dataclasses.field(compare=False)
    """Within its folder."""
    path: Path = dataclasses.field(compare=False)
    bytes: int
    """Of the whole file, as the digest is."""
    digest: str
    start: int
    """The first character."""
    stop: int
    """The character after the last one."""
    after: str = ""
    """What follows the stretch."""

    def __len__(self) -> int:
        return self.stop - self.start + len(self.after)

    def __getitem__(self, part: slice) -> "File":
        """Return a stretch of it; nothing may follow this one."""
        assert not self.after
        start, stop, _ = part.indices(len(self))
        return dataclasses.replace(self, start=self.start + start, stop=self.start + max(start, stop))

    def __add__(self, text: str) -> "File":
        return dataclasses.replace(self, after=self.after + text)

    def find(self, mark: str, start: int) -> int:
        """Return where a character is found first, from `start` on; -1 where it is not."""
        for block in self[start:].blocks():
            if (found := block.find(mark)) >= 0:
                return start + found
            start += len(block)
        return -1

    def blocks(self) -> Iterator[str]:
        """Yield the text. Raises `UsageError` where the file cannot be read."""
        try:
            with self.path.open(encoding="utf-8", newline="") as file:
                for place in range(0, self.start, _BLOCK):
                    file.read(min(_BLOCK, self.start - place))
                for place in range(self.start, self.stop, _BLOCK):
                    yield file.read(min(_BLOCK, self.stop - place))
        except OSError as error:
            raise UsageError(f"cannot read {self.path}: {error.strerror}") from error
        if self.after:
            yield self.after

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.blocks())


Document = str | File
"""A text in memory, or one in a file."""


def blocks(document: Document) -> Iterator[str]:
    """Yield a text in parts of a moderate size."""
    if isinstance(document, File):
        return document.blocks()
    return (document[start : start + _BLOCK] for start in range(0, len(document), _BLOCK))


def whole(document: Document) -> str:
    """Return a text as one."""
    return document.text if isinstance(document, File) else document


def is_folder(name: str) -> bool:
    """Return whether a dataset's name is a folder: it begins with "/", "./", "../" or "~", or is "." or ".."."""
    return os.path.isabs(name) or name.startswith(("./", "../", "~")) or name in (".", "..")


def existing(name: str) -> Path:
    """Return the path of a folder. Raises `UsageError` where there is none."""
    root = Path(name).expanduser()
    if root.is_file():
        raise UsageError(f"{root} is a file; name the folder that it is in")
    if not root.is_dir():
        raise UsageError(f"there is no folder {root}")
    return root


def check_link(path: Path) -> None:
    """Raise `UsageError` where a path is a link to nothing: a part of the data would be left out without a word."""
    if path.is_symlink() and not path.exists():
        raise UsageError(f"{path} is a link to a file that is not there; bring it back, or remove the link")


def together(refused: Sequence[str], what: str) -> str:
    """Return as one what is wrong with some files, a line for each: whoever mends one wants to know of all."""
    if len(refused) == 1:
        return refused[0]
    lines = [*refused[:NAMED], *([f"and {len(refused) - NAMED} more"] if len(refused) > NAMED else [])]
    return "\n  ".join([f"{len(refused)} {what} cannot be used:", *lines])


def read_files(folder: str) -> list[File]:
    """Return every file that ends with one of `SUFFIXES`, by path; hidden files and folders are left out.

    Each is read through once, and again when it has changed.

    Raises:
        UsageError: there is no such folder, it has no such file, or a file cannot be read or is not UTF-8.
    """
    root = existing(folder)
    named = (path.relative_to(root) for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)
    files, refused = [], []
    for path in sorted(named, key=lambda path: path.parts):
        if any(part.startswith(".") for part in path.parts):
            continue
        check_link(root / path)
        if not (root / path).is_file():
            continue
        status = (root / path).stat()
        try:
            size, digest, characters = _scanned(root / path, (status.st_mtime_ns, status.st_size))
        except UsageError as error:
            refused.append(str(error))
            continue
        files.append(File(path.as_posix(), root / path, size, digest, 0, characters))
    if refused:
        raise UsageError(together(refused, "texts"))
    if not files:
        raise UsageError(f"{root} has no text files ({', '.join(SUFFIXES)})")
    return files


@functools.lru_cache(maxsize=2**16)
def _scanned(path: Path, version: tuple[int, int]) -> tuple[int, str, int]:
    """Return bytes, digest and characters of a file. Raises `UsageError` where it cannot be read or is not UTF-8."""
    digest, decoder, size, characters = hashlib.sha256(), codecs.getincrementaldecoder("utf-8")(), 0, 0
    try:
        with path.open("rb") as file:
            while block := file.read(_BLOCK):
                size += len(block)
                digest.update(block)
                characters += len(decoder.decode(block))
        decoder.decode(b"", final=True)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        place = size - len(error.object) + error.start
        raise UsageError(f"{path} is not UTF-8 at byte {place}; convert or remove it") from error
    return size, digest.hexdigest(), characters


def split_texts(texts: Sequence[Document], split: Split, folder: str) -> tuple[Document, ...]:
    """Return the texts of a split, about 80, 10 and 10 %; empty ones and exact copies are left out.

    Ten texts or more are shuffled by a fixed seed and split whole. Of fewer, laid end to end, training is the first
    80 % of the characters, then come validation and test, each cut after the line that crosses.

    Raises:
        UsageError: the split is empty; names the `folder` of the texts.
    """
    texts = list(dict.fromkeys(text for text in texts if text))
    n = len(texts)
    if n >= FEW:
        shuffled = np.random.default_rng(0).permutation(n)
        cuts = np.array([n - 2 * (n // 10), n - n // 10])
        chosen = np.split(shuffled, cuts)[get_args(Split).index(split)]
        return tuple(texts[i] for i in sorted(chosen))
    total = sum(map(len, texts))
    first, second = (_after_line(texts, total * share // 10) for share in (8, 9))
    start, stop = {"train": (0, first), "validation": (first, second), "test": (second, total)}[split]
    pieces = []
    for text in texts:
        pieces.append(text[max(start, 0) : max(stop, 0)])
        start, stop = start - len(text), stop - len(text)
    if not any(pieces):
        raise UsageError(f"the texts of {folder} have too few lines and leave the {split} split empty; add some")
    return tuple(piece for piece in pieces if piece)


def _after_line(texts: Sequence[Document], place: int) -> int:
    """Return where the line ends that crosses a place in texts laid end to end; their end where none does."""
    before = 0
    for text in texts:
        if (found := text.find("\n", max(place - before, 0))) >= 0:
            return before + found + 1
        before += len(text)
    return before
