"""Text files of a folder as a dataset: which of them are read, and how they are split."""

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import get_args

import numpy as np

from research.data.splits import Split
from research.errors import UsageError

SUFFIXES = (".txt", ".md", ".rst", ".py")
FEW = 10  # with fewer files the text itself is cut


@dataclasses.dataclass(frozen=True)
class File:
    """A file's name within the folder, its text, and what its content hashes to."""

    name: str
    text: str
    digest: str


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


def read_files(folder: str) -> list[File]:
    """Return every file that ends with one of `SUFFIXES`, by path; hidden files and folders are left out.

    Raises:
        UsageError: there is no such folder, it has no such file, or a file cannot be read or is not UTF-8.
    """
    root = existing(folder)
    named = (path.relative_to(root) for path in root.rglob("*") if path.suffix.lower() in SUFFIXES)
    files = []
    for path in sorted(named, key=lambda path: path.parts):
        if any(part.startswith(".") for part in path.parts):
            continue
        check_link(root / path)
        if not (root / path).is_file():
            continue
        try:
            content = (root / path).read_bytes()
            text = content.decode()
        except OSError as error:
            raise UsageError(f"cannot read {root / path}: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise UsageError(f"{root / path} is not UTF-8 at byte {error.start}; convert or remove it") from error
        files.append(File(path.as_posix(), text, hashlib.sha256(content).hexdigest()))
    if not files:
        raise UsageError(f"{root} has no text files ({', '.join(SUFFIXES)})")
    return files


def split_texts(texts: list[str], split: Split, folder: str) -> tuple[str, ...]:
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
    whole = "".join(texts)
    first, second = (whole.find("\n", len(whole) * share // 10) + 1 or len(whole) for share in (8, 9))
    start, stop = {"train": (0, first), "validation": (first, second), "test": (second, len(whole))}[split]
    pieces = []
    for text in texts:
        pieces.append(text[max(start, 0) : max(stop, 0)])
        start, stop = start - len(text), stop - len(text)
    if not any(pieces):
        raise UsageError(f"the text files of {folder} have too few lines and leave the {split} split empty; add some")
    return tuple(piece for piece in pieces if piece)
