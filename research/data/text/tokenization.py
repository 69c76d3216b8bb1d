"""How text becomes token ids, as a value: a tokenizer that is trained on the training split, or one from a file."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable
from pathlib import Path

from research.data.storage.folders import Document
from research.data.text import tokenizers
from research.data.text.tokenizers import Kind, Tokenizer
from research.errors import UsageError
from research.fields import Size

Texts = Callable[[], tuple[Document, ...]]
"""Gives the texts of the training split, where they are needed."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """A tokenizer that is trained on the training split alone."""

    kind: Kind = "wordpiece"
    """What a token is; bpe and wordpiece take the extra "text"."""
    vocabulary_size: Size = 4096
    """Number of token ids; fewer may be used."""

    def check(self, special: bool) -> None:
        """Raise `UsageError` where the ids have no room for what the kind cannot do without; reads nothing."""
        tokenizers.check(self.kind, self.vocabulary_size, special)

    def tokenizer(self, texts: Texts, special: bool, separator: str = "") -> Tokenizer:
        """Return the tokenizer of texts that have a `separator` between two.

        With `special`, ids below `SPECIAL` are those of `research.tokens`.
        """
        return tokenizers.train(self.kind, texts(), self.vocabulary_size, special, separator)


@dataclasses.dataclass(frozen=True)
class FromFile:
    """A tokenizer from a `tokenizer.json` that a run has written, as that of the run whose embeddings are taken.

    Where the file lies is no part of the value: two that differ in that alone are equal and have one fingerprint.
    """

    file: str = dataclasses.field(compare=False)
    """The file, such as RUN/tokenizer.json."""
    sha256: str
    """Digest of the file, as `sha256sum` prints it; another file is refused."""
    vocabulary_size: Size
    """Number of token ids, at least those of the file."""

    def check(self, special: bool) -> None:
        """Raise nothing: what is in the file is found when it is read."""

    def tokenizer(self, texts: Texts, special: bool, separator: str = "") -> Tokenizer:
        """Return the tokenizer of the file.

        Raises:
            UsageError: the file is not there, damaged or not the one meant; or its ids are too many, or without the
                special ones that the dataset needs.
        """
        found = _read(self.file, self.sha256)
        if found.special != special:
            raise UsageError(f"{self.file} has {'no ' * special}ids for starts and ends of texts: choose another file")
        if found.size > self.vocabulary_size:
            raise UsageError(f"{self.file} has {found.size} token ids: set vocabulary_size to that")
        return found


Tokenization = Trained | FromFile


@functools.lru_cache(maxsize=8)
def _read(file: str, sha256: str) -> Tokenizer:
    """Return the tokenizer that is in a file of this digest."""
    try:
        content = Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != sha256:
        raise UsageError(f"{file} is another file than its sha256 says: its digest is {digest}")
    try:
        return tokenizers.from_json(content.decode())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{file} is no tokenizer.json of a run: {error}") from error
