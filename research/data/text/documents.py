"""Texts of a TFDS dataset or of a folder, and the tokenizer that is trained on them."""

import dataclasses
import functools
import json
from collections.abc import Hashable, Set
from pathlib import Path
from typing import Any, ClassVar, get_args

import numpy as np

from research.data import files
from research.data.dataset import Dataset
from research.data.splits import Split
from research.data.storage import catalog, digests, json_lines
from research.data.storage.folders import Document, blocks, is_folder, read_files, split_texts, whole
from research.data.storage.records import read
from research.data.text.tokenization import FromFile, Trained
from research.data.text.tokenizers import Tokenizer
from research.errors import UsageError

READABLE = ("prompt", "source", "target", "prediction")  # columns of token ids, where tasks have them

SHOWN = 1000  # characters of a text in a preview

_CHUNK = 1024  # examples decoded at a time, so that what is not asked for does not pile up


@dataclasses.dataclass(frozen=True)
class Documents(Dataset):
    """What datasets of tokenized texts have in common.

    A `name` that ends with .jsonl is a file with an object a line, of which `feature` names the text. One that begins
    with "/", "./", "../" or "~" is else a folder: its .txt, .md, .rst and .py files, at any depth and in UTF-8. Ten
    texts or more are shuffled by a fixed seed and split whole, 80, 10 and 10 %; fewer are laid end to end and cut at
    the line after 80 and 90 % of the characters. Exact copies are left out. The tokenizer is trained on the training
    split alone.
    """

    special: ClassVar[bool] = True

    feature: str = "text"
    """Text feature of a TFDS dataset, or the name of the text in a .jsonl file."""
    tokenizer: Trained | FromFile = Trained()
    """What a token is, and how many ids there are."""

    @property
    def vocabulary_size(self) -> int:
        """The number of token ids."""
        return self.tokenizer.vocabulary_size

    def check(self) -> None:
        """Raise `UsageError` where the dataset has no such text, or the tokenizer no room; needs no prepared data."""
        self.tokenizer.check(self.special)
        if is_lines(self.name):
            files.check_unset(self)
        elif is_folder(self.name):
            files.check_unset(self, "folder")
        else:
            check_texts(catalog.find(self.name), self.feature)

    def texts(self, split: Split, data_dir: str | None = None) -> tuple[str, ...]:
        """Return the texts of a split. Raises `UsageError` as `Dataset.source` and `check`."""
        return tuple(map(whole, self.documents(split, data_dir)))

    def documents(self, split: Split, data_dir: str | None = None) -> tuple[Document, ...]:
        """Return what `texts` does, without reading those that are in files."""
        self.check()
        self.check_digest()
        if is_lines(self.name):
            return split_texts(_texts(self.name, self.feature, files.version(self.name)), split, self.name)
        if is_folder(self.name):
            return split_texts(read_files(self.name), split, self.name)
        (texts,) = columns(self, (self.feature,), split, data_dir)
        return texts

    def trained(self, data_dir: str | None = None) -> Tokenizer:
        """Return the tokenizer."""
        return self.tokenizer.tokenizer(lambda: self.documents("train", data_dir), self.special)

    def counts(self, split: Split, data_dir: str | None = None) -> dict[str, int]:
        """Return what a split has, and what of it was cut to fit."""
        raise NotImplementedError

    def digest(self) -> str:
        """Return the digest of the file or folder; "" of a dataset."""
        if is_lines(self.name):
            return files.digest(self.name)
        if not is_folder(self.name):
            return ""
        return digests.of_folder((file.name, file.digest) for file in read_files(self.name))

    def found(self, given: Set[str] = frozenset(), data_dir: str | None = None) -> dict[str, Any]:
        """Return the digest."""
        return {"sha256": self.digest()}

    def preview(self, folder: Path, data_dir: str | None = None) -> dict[str, str]:
        """Write `preview.txt`: how each split begins."""
        parts = []
        for split in get_args(Split):
            documents = self.documents(split, data_dir)
            first = next(blocks(documents[0]))[:SHOWN]
            parts.append(f"--- {split}: {len(documents):,} texts, of which the first begins\n\n{first}\n")
        (folder / "preview.txt").write_text("\n".join(parts), encoding="utf-8")
        return {"preview.txt": "how the texts of each split begin, as they were read"}

    def files(self, data_dir: str | None = None) -> dict[str, str]:
        """Return `dataset.json` with the counts of every split, and the trained `tokenizer.json`."""
        return dict(_described(self, self._version(), catalog.data_folder(data_dir)))

    def readable(self, columns: dict[str, np.ndarray], data_dir: str | None = None) -> dict[str, np.ndarray]:
        """Return the columns of token ids [n, l] that `READABLE` names as texts [n]; others as they are."""
        return {
            name: decode(self.trained(data_dir), column) if is_token_ids(name, column) else column
            for name, column in columns.items()
        }

    def _unit(self) -> str | None:
        """Return what several texts are known to be of, such as a module; None where they are independent."""
        return None if is_own(self.name) else catalog.unit(self.name)

    def _version(self) -> Hashable:
        """Return what changes when files of one's own do."""
        if is_lines(self.name):
            return files.version(self.name)
        return tuple((file.name, file) for file in read_files(self.name)) if is_folder(self.name) else ()


def is_lines(name: str) -> bool:
    """Return whether the name of a dataset is the path of a JSON Lines file."""
    return name.lower().endswith(".jsonl")


def is_own(name: str) -> bool:
    """Return whether the name of a dataset is the path of a file or folder."""
    return is_lines(name) or is_folder(name)


# Two, because each is as large as its file; a run opens the same one for every split.
@functools.lru_cache(maxsize=2)
def _texts(path: str, feature: str, version: Hashable) -> tuple[str, ...]:
    """Return the texts of a JSON Lines file."""
    return json_lines.texts(path, feature)


# Small, and asked for by every trial of a study.
@functools.lru_cache(maxsize=32)
def _described(data: Documents, version: Hashable, folder: str) -> dict[str, str]:
    """Return what `Documents.files` does, while files of one's own are of this version."""
    described: dict[str, Any] = {"dataset": data.name}
    if is_lines(data.name):
        described |= json.loads(files.describe(data.name)["dataset.json"])
    elif is_folder(data.name):
        described["files"] = [
            {"name": file.name, "bytes": file.bytes, "sha256": file.digest} for file in read_files(data.name)
        ]
    else:
        described = json.loads(Dataset.files(data, folder)["dataset.json"])
    described["read"] = {split: data.counts(split, folder) for split in ("train", "validation", "test")}
    return {
        "dataset.json": json.dumps(described, indent=2) + "\n",
        "tokenizer.json": data.trained(folder).to_json(),
    }


def columns(dataset: Dataset, features: tuple[str, ...], split: Split, data_dir: str | None) -> tuple[Any, ...]:
    """Return features of all examples of a split: a tuple of str, or of numbers, each. Read once per process.

    Raises:
        UsageError: as `Dataset.source`; a text is not UTF-8.
    """
    named = Dataset(dataset.name, dataset.train, dataset.validation, dataset.test)
    return _columns(named, features, split, catalog.data_folder(data_dir))


@functools.lru_cache(maxsize=12)
def _columns(dataset: Dataset, features: tuple[str, ...], split: Split, folder: str) -> tuple[Any, ...]:
    """Read what `columns` returns."""
    source = dataset.source(split, folder)
    found: dict[str, list[Any]] = {feature: [] for feature in features}
    for start in range(0, len(source), _CHUNK):
        for example in read(source, range(start, min(start + _CHUNK, len(source)))):
            for feature, items in found.items():
                items.append(example[feature])
    try:
        return tuple(
            tuple(item.decode() if isinstance(item, bytes) else item for item in items) for items in found.values()
        )
    except UnicodeDecodeError as error:
        raise UsageError(f'a text of the {split} split of "{dataset.name}" is not UTF-8: {error.reason}') from error


def described(builder: Any) -> dict[str, Any]:
    """Return the features of a TFDS dataset's examples by name; none where examples are not dictionaries."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    return dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}


def check_texts(builder: Any, *features: str) -> None:
    """Raise `UsageError` unless the examples of a TFDS dataset have a text under each of the names `features`."""
    import tensorflow_datasets as tfds

    entries = described(builder)
    texts = [name for name, entry in entries.items() if isinstance(entry, tfds.features.Text)]
    for feature in features:
        if feature not in texts:
            raise UsageError(
                f'dataset "{builder.name}" has no text "{feature}"; '
                f"its texts are: {', '.join(texts) or 'none'}; its examples have: {', '.join(entries)}"
            )


def is_token_ids(name: str, column: np.ndarray) -> bool:
    """Return whether a column of predictions holds token ids."""
    return name in READABLE and column.ndim == 2 and np.issubdtype(column.dtype, np.integer)


def decode(tokenizer: Tokenizer, ids: np.ndarray) -> np.ndarray:
    """Return the text of each row of ids [n, l], [n] of str."""
    return np.array([tokenizer.decode(row) for row in ids.tolist()], np.str_)


def id_type(size: int) -> type[np.unsignedinteger | np.signedinteger]:
    """Return the smallest type that token ids below `size` are kept in."""
    return np.uint8 if size <= 2**8 else np.uint16 if size <= 2**16 else np.int32


def padded(rows: list[list[int]], length: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return rows of ids, each cut to `length` and padded, [n, length], and their lengths, int32 [n]."""
    ids = np.zeros((len(rows), length), dtype)
    for row, place in zip(rows, ids, strict=True):
        place[: len(row)] = row[:length]
    return ids, np.minimum([len(row) for row in rows], length).astype(np.int32)
