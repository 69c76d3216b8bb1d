"""Text as token ids and back: bytes, characters, words, byte pairs and word pieces.

tokenizer = train("bpe", texts, vocabulary=512, special=False)
tokenizer.decode(tokenizer.encode("Text.")) == "Text."
from_json(tokenizer.to_json()) == tokenizer

A tokenizer is a value, and training a pure function of the texts.
"""

import collections
import dataclasses
import functools
import json
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from research.data.storage.folders import Document, blocks, whole
from research.errors import UsageError
from research.tokens import SPECIAL, UNKNOWN

Kind = Literal["bytes", "characters", "words", "bpe", "wordpiece"]

REPLACEMENT = "\ufffd"  # what an unknown token reads as
LATER = 0xF0000  # the first of the private characters that stand for characters within a word while pieces are learned

_WIDTHS = np.array([0, 0x80, 0x800, 0x10000])  # the first characters of one, two, three and four bytes of UTF-8
# Where whitespace follows what is none: byte pairs never reach across, and look at nothing before it.
_LAST = 2**12  # how far from the end of a part that is looked for
_BETWEEN = re.compile(r"(?<=\S)[ \n]")


@dataclasses.dataclass(frozen=True)
class Tokenizer:
    """What every tokenizer answers. With `special`, ids below `SPECIAL` are those of `research.tokens`."""

    special: bool

    @property
    def size(self) -> int:
        """Number of ids."""
        raise NotImplementedError

    @property
    def unknown(self) -> int | None:
        """The id of what has none of its own; None where there is no such text."""
        return None

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; of the special ones only `UNKNOWN` may be among them."""
        return self.ids(text).tolist()

    def ids(self, text: str) -> np.ndarray:
        """Return what `encode` does as an array [n]."""
        raise NotImplementedError

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ids; special ids but the unknown one, and ids that no token has, are left out."""
        raise NotImplementedError

    def sizes(self, text: str) -> list[int]:
        """Return the UTF-8 bytes of the text behind each token; bytes, characters and byte pairs leave none out."""
        return self.widths(text).tolist()

    def widths(self, text: str) -> np.ndarray:
        """Return what `sizes` does as an array [n]."""
        raise NotImplementedError

    def parts(self, document: Document) -> Iterator[str]:
        """Yield a text in parts whose tokens, one after the other, are those of the text."""
        yield whole(document)

    def to_json(self) -> str:
        """Return the tokenizer as JSON, which `from_json` reads."""
        (kind,) = (kind for kind, cls in KINDS.items() if cls is type(self))
        return json.dumps({"kind": kind, **dataclasses.asdict(self)}, ensure_ascii=False) + "\n"


@dataclasses.dataclass(frozen=True)
class Bytes(Tokenizer):
    """A token is a byte of UTF-8; every text comes back as it was."""

    @property
    def _first(self) -> int:
        """The first id that is not special."""
        return SPECIAL if self.special else 0

    @property
    def size(self) -> int:
        return self._first + 256

    def ids(self, text: str) -> np.ndarray:
        found = np.frombuffer(text.encode(), np.uint8)
        return found + np.uint16(self._first) if self._first else found

    def decode(self, ids: Iterable[int]) -> str:
        first, size = self._first, self.size
        return bytes(i - first for i in ids if first <= i < size).decode(errors="replace")

    def widths(self, text: str) -> np.ndarray:
        return np.ones(len(text.encode()), np.uint8)

    def parts(self, document: Document) -> Iterator[str]:
        return blocks(document)


@dataclasses.dataclass(frozen=True)
class BytePairs(Tokenizer):
    """A token is a run of bytes that is frequent in the training texts (Sennrich et al., 2016; bytes as in GPT-2).

    Every text comes back as it was.
    """

    tokens: tuple[str, ...]
    merges: tuple[str, ...]

    @property
    def _first(self) -> int:
        """The first id that is not special."""
        return SPECIAL if self.special else 0

    @property
    def size(self) -> int:
        return self._first + len(self.tokens)

    def ids(self, text: str) -> np.ndarray:
        return np.array(self._model.encode(text).ids, np.int32) + self._first

    def decode(self, ids: Iterable[int]) -> str:
        first, size = self._first, self.size
        return self._model.decode([i - first for i in ids if first <= i < size])

    def widths(self, text: str) -> np.ndarray:
        return self._widths[self.ids(text) - self._first]

    def parts(self, document: Document) -> Iterator[str]:
        return between_words(document)

    @functools.cached_property
    def _widths(self) -> np.ndarray:
        """The bytes of each token, each of which is written as one character."""
        return np.array([len(token) for token in self.tokens])

    @functools.cached_property
    def _model(self) -> Any:
        """The library's tokenizer."""
        library = _library()
        merges = [tuple(merge.split(" ")) for merge in self.merges]
        model = library.Tokenizer(library.models.BPE({token: i for i, token in enumerate(self.tokens)}, merges))
        model.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
        model.decoder = library.decoders.ByteLevel()
        return model


@dataclasses.dataclass(frozen=True)
class _Listed(Tokenizer):
    """A token is an item of a list, all else one unknown token: `UNKNOWN` among special ids, otherwise id 0."""

    items: tuple[str, ...]

    @property
    def _first(self) -> int:
        """The id of the first item."""
        return SPECIAL if self.special else 1

    @property
    def unknown(self) -> int:
        """The id of what is not listed."""
        return UNKNOWN if self.special else 0

    @property
    def size(self) -> int:
        return self._first + len(self.items)

    @functools.cached_property
    def _ids(self) -> dict[str, int]:
        """The id of each item."""
        return {item: self._first + i for i, item in enumerate(self.items)}

    def _decode(self, ids: Iterable[int]) -> list[str]:
        """Return the items of ids."""
        first, size, unknown = self._first, self.size, self.unknown
        return [
            REPLACEMENT if i == unknown else self.items[i - first] for i in ids if i == unknown or first <= i < size
        ]


@dataclasses.dataclass(frozen=True)
class Characters(_Listed):
    """A token is a character; the most frequent ones of the training texts are known."""

    def ids(self, text: str) -> np.ndarray:
        return self._table[_points(text)]

    def decode(self, ids: Iterable[int]) -> str:
        return "".join(self._decode(ids))

    def widths(self, text: str) -> np.ndarray:
        return _WIDTHS.searchsorted(_points(text), side="right").astype(np.uint8)

    def parts(self, document: Document) -> Iterator[str]:
        return blocks(document)

    @functools.cached_property
    def _table(self) -> np.ndarray:
        """The id of each character that there is."""
        table = np.full(sys.maxunicode + 1, self.unknown, np.int32)
        for character, index in self._ids.items():
            table[ord(character)] = index
        return table


@dataclasses.dataclass(frozen=True)
class Words(_Listed):
    """A token is what stands between spaces; the most frequent ones of the training texts are known."""

    def ids(self, text: str) -> np.ndarray:
        ids, unknown = self._ids, self.unknown
        return np.array([ids.get(word, unknown) for word in text.split()], np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(self._decode(ids))


@dataclasses.dataclass(frozen=True)
class WordPieces(_Listed):
    """A token is a word or a piece of one, lowercase and without accents, as BERT has them (Devlin et al., 2019).

    A piece that does not begin its word is listed with "##" in front. A word is cut into the longest pieces there are,
    from the left; a word that has none is unknown. Decoding puts a space before every word and punctuation mark.
    """

    def ids(self, text: str) -> np.ndarray:
        return np.array(self._model.encode(text).ids, np.int32)

    def decode(self, ids: Iterable[int]) -> str:
        return " ".join(self._decode(ids)).replace(" ##", "")

    @functools.cached_property
    def _model(self) -> Any:
        """The library's tokenizer."""
        library = _library()
        model = library.Tokenizer(library.models.WordPiece({"[UNK]": self.unknown, **self._ids}, unk_token="[UNK]"))
        model.normalizer = library.normalizers.BertNormalizer(lowercase=True)
        model.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
        return model


KINDS: dict[Kind, type[Tokenizer]] = {
    "bytes": Bytes,
    "characters": Characters,
    "words": Words,
    "bpe": BytePairs,
    "wordpiece": WordPieces,
}


def from_json(text: str) -> Tokenizer:
    """Return the tokenizer that `Tokenizer.to_json` wrote."""
    fields = json.loads(text)
    cls: Any = KINDS[fields.pop("kind")]
    return cls(**{name: tuple(field) if isinstance(field, list) else field for name, field in fields.items()})


def check(kind: Kind, vocabulary: int, special: bool) -> None:
    """Raise `UsageError` where a vocabulary has no room for the tokens that a kind cannot do without."""
    reserved = SPECIAL if special else 0
    least = {"bytes": 256, "bpe": 256, "wordpiece": 4}.get(kind, 1 if special else 2) + reserved
    if vocabulary < least:
        raise UsageError(f'{vocabulary} token ids are too few for tokenizer "{kind}", which takes at least {least}')


# Experiments of a sweep share their texts, which hash and compare fast when they are the same objects.
@functools.lru_cache(maxsize=8)
def train(kind: Kind, texts: tuple[Document, ...], vocabulary: int, special: bool, separator: str = "") -> Tokenizer:
    """Return a tokenizer of at most `vocabulary` ids, trained on `texts`: the same in every process.

    Between two texts there is a `separator`.

    Raises:
        UsageError: the vocabulary is too small, or the package that learns pieces is not installed.
    """
    check(kind, vocabulary, special)
    documents = separated(texts, separator)
    match kind:
        case "bytes":
            return Bytes(special)
        case "characters":
            counts = _characters(documents)
            return Characters(special, _most_frequent(counts, vocabulary - Characters(special, ()).size))
        case "words":
            counts = collections.Counter(word for document in documents for word in whole(document).split())
            return Words(special, _most_frequent(counts, vocabulary - Words(special, ()).size))
        case "bpe":
            return BytePairs(special, *_byte_pairs(documents, vocabulary - BytePairs(special, (), ()).size))
        case "wordpiece":
            return WordPieces(special, _word_pieces(documents, vocabulary - WordPieces(special, ()).size))


def separated(texts: Sequence[Document], separator: str) -> Iterator[Document]:
    """Yield texts, all but the last with what stands between two."""
    for text in texts[:-1]:
        yield text + separator if separator else text
    yield from texts[-1:]


def between_words(document: Document) -> Iterator[str]:
    """Yield a text in parts, each of which begins with the whitespace after a word."""
    kept = ""
    for block in blocks(document):
        kept += block
        places = [match.start() for match in _BETWEEN.finditer(kept, max(0, len(kept) - _LAST))]
        if places:
            yield kept[: places[-1]]
            kept = kept[places[-1] :]
    yield kept


def _characters(documents: Iterable[Document]) -> collections.Counter[str]:
    """Return how often each character occurs."""
    totals = np.zeros(sys.maxunicode + 1, np.int64)
    for document in documents:
        for block in blocks(document):
            counts = np.bincount(_points(block))
            totals[: len(counts)] += counts
    return collections.Counter({chr(point): int(totals[point]) for point in np.flatnonzero(totals)})


def _points(text: str) -> np.ndarray:
    """Return the characters of a text as numbers."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def _most_frequent(counts: collections.Counter[str], number: int) -> tuple[str, ...]:
    """Return the items with the highest counts, in alphabetical order; among equals the first of them."""
    return tuple(sorted(sorted(counts, key=lambda item: (-counts[item], item))[:number]))


def _byte_pairs(texts: Iterable[Document], number: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return tokens in the order of their ids, and merges in the order they are applied."""
    library = _library()
    model = library.Tokenizer(library.models.BPE())
    model.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(library.pre_tokenizers.ByteLevel.alphabet())
    parts = (part for text in texts for part in between_words(text))
    model.train_from_iterator(
        parts, library.trainers.BpeTrainer(vocab_size=number, initial_alphabet=alphabet, show_progress=False)
    )
    learned = json.loads(model.to_str())["model"]
    tokens = sorted(learned["vocab"], key=learned["vocab"].get)
    return tuple(tokens), tuple(" ".join(merge) for merge in learned["merges"])


def _word_pieces(texts: Iterable[Document], number: int) -> tuple[str, ...]:
    """Return pieces in the order of their ids: characters, then longer ones as they were learned.

    The library's own trainer numbers characters within words in the order of a hash table, so that it gave other pieces
    on every call with 3,000 ids and more. Its trainer for byte pairs sorts them, and is given each character within a
    word as another, private character. Characters take up at most half of the ids.
    """
    library = _library()
    normalizer = library.normalizers.BertNormalizer(lowercase=True)
    splitter = library.pre_tokenizers.BertPreTokenizer()
    words = [word for text in texts for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(whole(text)))]
    counts = collections.Counter[str]()
    for word in words:
        counts.update(word)
    alphabet = _most_frequent(counts, number // 4)
    later = {ord(character): LATER + i for i, character in enumerate(alphabet)}
    known = set(alphabet)
    disguised = [word[0] + word[1:].translate(later) for word in words if known.issuperset(word)]
    model = library.Tokenizer(library.models.BPE())
    model.pre_tokenizer = library.pre_tokenizers.WhitespaceSplit()
    model.train_from_iterator(
        [" ".join(disguised)],
        library.trainers.BpeTrainer(
            vocab_size=number, initial_alphabet=[*alphabet, *map(chr, later.values())], show_progress=False
        ),
    )
    vocabulary = model.get_vocab()
    plain = {private: character for character, private in later.items()}
    return tuple(
        "##" * (ord(piece[0]) in plain) + piece.translate(plain) for piece in sorted(vocabulary, key=vocabulary.get)
    )


def _library() -> Any:
    """Return the package that learns pieces."""
    try:
        import tokenizers
    except ImportError as error:
        raise UsageError(
            'the tokenizers "bpe" and "wordpiece" need a package; run: pip install "ceteris-research[text]"'
        ) from error
    return tokenizers
