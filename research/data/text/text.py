"""Running text for a language model: windows of tokens, each with the token that follows it."""

import dataclasses
import functools
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from research.data.schema import Categorical, Integer, Length, Schema, Tokens
from research.data.source import Batch
from research.data.splits import Split
from research.data.storage.folders import Document, blocks
from research.data.storage.records import Records
from research.data.text.documents import Documents, id_type
from research.data.text.packing import lay, numbers, pack
from research.data.text.tokenization import FromFile, Trained
from research.data.text.tokenizers import Tokenizer, separated
from research.errors import UsageError
from research.fields import Size

WHOLE = ("bytes", "characters", "bpe")  # tokens that hold all of a text

SEPARATOR = "\n\n"
"""What stands between two documents: text like any other, to be predicted."""


@dataclasses.dataclass(frozen=True)
class Text(Documents):
    """Texts one after the other, an empty line between them, cut into windows of `length` tokens.

    A batch has `tokens` and `targets` [b, l] (the tokens that follow), `lengths` [b] (targets that count) and `bytes`
    [b] (of UTF-8, that these stand for; an unknown character counts none, as which one it is costs a model nothing). In
    dataset order the windows hold each token after the first exactly once as a target; the last is padded. With jitter
    a training window begins up to `length` - 1 tokens later, drawn anew each time, so that a token is met in every
    context.

    With `packed` no text runs on from a window into the next, but one that is longer than a window, and several that
    are shorter share one. A batch says in `documents` [b, l] which of them a step is of, 0 in the padding; a model that
    reads that sees each text by itself, so loss and metrics are those of one text a window. The first token of a text,
    or of a piece of one, is no target; the empty line behind a text, all but the last, ends it.

    As stored an example is {"tokens": [2 l] or without jitter [l + 1], "count": tokens that are there}, and "sizes" in
    bytes where tokens differ in them; with `packed` {"tokens", "targets", "documents": [l], "count": targets that are
    there}, and "sizes" of the targets.
    """

    special: ClassVar[bool] = False

    name: str = "pydoc_topics"
    """TFDS dataset, such as "pydoc_topics" or "stdlib_docstrings", which need no download; or a folder of text."""
    tokenizer: Trained | FromFile = Trained("bytes", 256)
    """What a token is: bytes, characters or, with the extra "text", bpe; and how many ids there are."""
    length: Size = 64
    """Tokens in a window."""
    jitter: bool = True
    """Let each window of a training batch begin at random."""
    packed: bool = False
    """Put whole texts into windows, several into one and each to be read by itself; takes `jitter=False`."""

    def spec(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Return shape and type of each entry of an example as stored."""
        self.check()
        reach = (self.length if self.packed else self._reach,)
        tokens = jax.ShapeDtypeStruct(reach, id_type(self.vocabulary_size))
        spec = {"tokens": tokens, "count": jax.ShapeDtypeStruct((), np.int32)}
        if self.packed:
            spec |= {"targets": tokens, "documents": jax.ShapeDtypeStruct(reach, id_type(self.length + 1))}
        return spec if self._bytes else {**spec, "sizes": jax.ShapeDtypeStruct(reach, self._size_type)}

    def schema(self) -> Schema:
        """Return what the entries mean; windows are cut from the same documents."""
        tokens = Tokens(self.vocabulary_size)
        packed = {"documents": Categorical(self.length + 1)} if self.packed else {}
        return Schema(
            {
                "tokens": tokens,
                "targets": tokens,
                **packed,
                "lengths": Length("targets"),
                "bytes": Integer("bytes of UTF-8 that the known targets stand for"),
            },
            self._unit() or "document",
        )

    def trained(self, data_dir: str | None = None) -> Tokenizer:
        """Return the tokenizer, trained on the training split as it is read: with what separates its documents."""
        return self.tokenizer.tokenizer(lambda: self.documents("train", data_dir), self.special, SEPARATOR)

    def open(self, split: Split, data_dir: str | None = None) -> Records:
        """Return random access to the windows of a split.

        Raises:
            UsageError: as `Documents.texts`; a tokenizer's package is missing; the split has no two tokens.
        """
        if self.packed:
            return Records.of(self._packed(split, data_dir))
        encoded = self._encoded(split, data_dir)
        n = encoded.length
        if n < 2:
            raise UsageError(f'the {split} split of "{self.name}" has fewer than two tokens')
        arrays = {
            "tokens": self._windows(encoded.tokens, n),
            "count": np.minimum(n - np.arange(0, n - 1, self.length), self._reach).astype(np.int32),
        }
        if encoded.sizes is not None:
            arrays["sizes"] = self._windows(encoded.sizes, n)
        return Records.of(arrays)

    def counts(self, split: Split, data_dir: str | None = None) -> dict[str, int]:
        """Return the documents, tokens and bytes of a split, and the tokens that are unknown where any can be."""
        documents, encoded = self.documents(split, data_dir), self._encoded(split, data_dir)
        counts = {"documents": len(documents), "tokens": encoded.length, "bytes": encoded.bytes}
        if self.packed:
            targets = self._packed(split, data_dir)["count"]
            counts |= {"windows": len(targets), "padding": len(targets) * self.length - int(targets.sum())}
        return counts if self.trained(data_dir).unknown is None else {**counts, "unknown": encoded.unknown}

    def preprocess(self, batch: Batch, key: jax.Array | None = None) -> Batch:
        """Return windows as the class describes them; with a `key` and jitter, random ones."""
        batch = dict(batch)
        if self.packed:
            return self._unpacked(batch)
        record, count, sizes = batch.pop("tokens").astype(jnp.int32), batch.pop("count"), batch.pop("sizes", None)
        start = jnp.zeros_like(count)  # [b]
        if self.jitter and key is not None:
            start = jax.random.randint(key, count.shape, 0, jnp.clip(count - 1, 1, self.length))
        step = jnp.arange(self.length)[None]  # [1, l]
        here = start[:, None] + step  # [b, l]
        lengths = jnp.clip(count - 1 - start, 0, self.length)
        if sizes is None:
            size = lengths
        else:
            following = jnp.take_along_axis(sizes.astype(jnp.int32), here + 1, axis=1)
            size = jnp.where(step < lengths[:, None], following, 0).sum(axis=1)
        return {
            **batch,
            "tokens": jnp.take_along_axis(record, here, axis=1),
            "targets": jnp.take_along_axis(record, here + 1, axis=1),
            "lengths": lengths,
            "bytes": size,
        }

    def check(self) -> None:
        """Raise `UsageError` also where tokens leave out what stands between them."""
        super().check()
        if isinstance(self.tokenizer, Trained) and self.tokenizer.kind not in WHOLE:
            kinds = ", ".join(WHOLE)
            raise UsageError(f'tokens of a text must hold all of it: "{self.tokenizer.kind}" is not one of {kinds}')
        if self.packed and self.jitter:
            raise UsageError(
                "data.packed puts whole texts into windows, which begin where they do: set data.jitter=False"
            )

    @property
    def _bytes(self) -> bool:
        """Whether every token is known to stand for one byte."""
        return isinstance(self.tokenizer, Trained) and self.tokenizer.kind == "bytes"

    @property
    def _reach(self) -> int:
        """Tokens in an example as stored: a window that begins anywhere in the first `length`, and one more."""
        return 2 * self.length if self.jitter else self.length + 1

    @property
    def _size_type(self) -> type[np.unsignedinteger]:
        """What the bytes of a token are kept in: those of a character are four at most."""
        return np.uint8 if isinstance(self.tokenizer, Trained) and self.tokenizer.kind == "characters" else np.uint16

    def _packed(self, split: Split, data_dir: str | None) -> dict[str, np.ndarray]:
        """Return the packed windows of a split, as stored."""
        encoded, size = self._encoded(split, data_dir), self.length
        pieces = pack(encoded.starts, (*encoded.starts[1:], encoded.length), size)
        if not pieces:
            raise UsageError(f'the {split} split of "{self.name}" has no text of two tokens')
        documents = numbers(pieces, size)
        arrays = {
            "tokens": lay(encoded.tokens, pieces, size),
            "targets": lay(encoded.tokens, pieces, size, shift=1),
            "documents": documents.astype(id_type(size + 1)),
            "count": (documents > 0).sum(axis=1, dtype=np.int32),
        }
        return arrays if encoded.sizes is None else {**arrays, "sizes": lay(encoded.sizes, pieces, size, shift=1)}

    def _unpacked(self, batch: Batch) -> Batch:
        """Return a batch of packed windows as the class describes it."""
        count, sizes = batch.pop("count"), batch.pop("sizes", None)
        ids = {name: batch[name].astype(jnp.int32) for name in ("tokens", "targets", "documents")}
        size = count if sizes is None else sizes.astype(jnp.int32).sum(axis=1)
        return {**batch, **ids, "lengths": count, "bytes": size}

    def _windows(self, values: np.ndarray, n: int) -> np.ndarray:
        """Return what follows every `length`-th of `n` values that zeros follow: [w, reach], a view of [n + reach]."""
        return np.lib.stride_tricks.sliding_window_view(values, self._reach)[: n - 1 : self.length]

    def _encoded(self, split: Split, data_dir: str | None) -> "Encoded":
        """Return the tokens of a split."""
        sizes = None if self._bytes else np.dtype(self._size_type)
        documents, tokenizer = self.documents(split, data_dir), self.trained(data_dir)
        return encode(documents, tokenizer, np.dtype(id_type(self.vocabulary_size)), sizes, self._reach)


class Encoded(NamedTuple):
    """The tokens of texts laid end to end, and zeros after them."""

    tokens: np.ndarray
    sizes: np.ndarray | None
    """The bytes behind each token, none behind an unknown one, where they are asked for."""
    length: int
    """Of the tokens, without what is after them."""
    bytes: int
    """The bytes of the texts."""
    starts: tuple[int, ...]
    """Where each text begins."""
    unknown: int
    """How many tokens are unknown."""


# Three, for the splits of one dataset; windows are views of these arrays.
@functools.lru_cache(maxsize=3)
def encode(
    documents: tuple[Document, ...],
    tokenizer: Tokenizer,
    ids: np.dtype,
    sizes: np.dtype | None,
    after: int,
) -> Encoded:
    """Return the tokens of documents, kept as `ids`, and where asked for their sizes, kept as that, `after` zeros last.

    A part of a text at a time is encoded, so that nothing but what is kept is as large as the text.
    """
    size = sum(len(block.encode()) for document in separated(documents, SEPARATOR) for block in blocks(document))
    # Room for a token a byte, fewer than which none is: what is not written to takes no memory.
    tokens, widths = np.empty(size + after, ids), None if sizes is None else np.empty(size + after, sizes)
    count = unknown = 0
    starts = []
    for document in separated(documents, SEPARATOR):
        starts.append(count)
        for part in tokenizer.parts(document):
            found = tokenizer.ids(part)
            known = found != tokenizer.unknown  # all, where nothing can be unknown
            tokens[count : count + len(found)] = found
            if widths is not None:
                widths[count : count + len(found)] = tokenizer.widths(part) * known
            count, unknown = count + len(found), unknown + int(np.count_nonzero(~known))
    stop = count + after
    for array in (tokens, *([] if widths is None else [widths])):
        array[count:stop] = 0
    return Encoded(tokens[:stop], None if widths is None else widths[:stop], count, size, tuple(starts), unknown)
