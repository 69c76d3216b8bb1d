"""Running text for a language model: windows of tokens, each with the token that follows it."""

import dataclasses
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from research.data.schema import Integer, Length, Schema, Tokens
from research.data.source import Batch
from research.data.splits import Split
from research.data.storage.records import Records
from research.data.text.documents import Documents, id_type
from research.data.text.tokenization import FromFile, Trained
from research.data.text.tokenizers import Tokenizer
from research.errors import UsageError
from research.fields import Size

WHOLE = ("bytes", "characters", "bpe")  # tokens that hold all of a text

SEPARATOR = "\n\n"
"""What stands between two documents: text like any other, to be predicted."""


@dataclasses.dataclass(frozen=True)
class Text(Documents):
    """Texts one after the other, an empty line between them, cut into windows of `length` tokens.

    A batch has `tokens` and `targets` [b, l] (the tokens that follow), `lengths` [b] (targets that count) and `bytes`
    [b] (of UTF-8, that these stand for). In dataset order the windows hold each token after the first exactly once as
    a target; the last is padded. With jitter a training window begins up to `length` - 1 tokens later, drawn anew each
    time, so that a token is met in every context.

    As stored an example is {"tokens": [2 l] or without jitter [l + 1], "count": tokens that are there}, and "sizes" in
    bytes where tokens differ in them.
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

    def spec(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Return shape and type of each entry of an example as stored."""
        self.check()
        reach = (self._reach,)
        spec = {
            "tokens": jax.ShapeDtypeStruct(reach, id_type(self.vocabulary_size)),
            "count": jax.ShapeDtypeStruct((), np.int32),
        }
        return spec if self._bytes else {**spec, "sizes": jax.ShapeDtypeStruct(reach, np.uint16)}

    def schema(self) -> Schema:
        """Return what the entries mean; windows are cut from the same documents."""
        tokens = Tokens(self.vocabulary_size)
        return Schema(
            {
                "tokens": tokens,
                "targets": tokens,
                "lengths": Length("targets"),
                "bytes": Integer("bytes of UTF-8 that the targets stand for"),
            },
            self._unit() or "document",
        )

    def trained(self, data_dir: str | None = None) -> Tokenizer:
        """Return the tokenizer, trained on the training split as it is read: with what separates its documents."""
        pieces = tuple(self._pieces("train", data_dir))
        return self.tokenizer.tokenizer(lambda: pieces, self.special)

    def open(self, split: Split, data_dir: str | None = None) -> Records:
        """Return random access to the windows of a split.

        Raises:
            UsageError: as `Documents.texts`; a tokenizer's package is missing; the split has no two tokens.
        """
        tokenizer, pieces = self.trained(data_dir), self._pieces(split, data_dir)
        tokens = np.concatenate([np.array(tokenizer.encode(piece), np.int32) for piece in pieces])  # [n]
        n = len(tokens)
        if n < 2:
            raise UsageError(f'the {split} split of "{self.name}" has fewer than two tokens')
        starts = np.arange(0, n - 1, self.length)  # [w]
        arrays = {
            "tokens": self._windows(tokens, starts).astype(id_type(self.vocabulary_size)),
            "count": np.minimum(n - starts, self._reach).astype(np.int32),
        }
        if not self._bytes:
            sizes = np.concatenate([np.array(tokenizer.sizes(piece), np.uint16) for piece in pieces])
            arrays["sizes"] = self._windows(sizes, starts)
        return Records.of(arrays)

    def counts(self, split: Split, data_dir: str | None = None) -> dict[str, int]:
        """Return the documents, tokens and bytes of a split."""
        pieces, tokenizer = self._pieces(split, data_dir), self.trained(data_dir)
        return {
            "documents": len(pieces),
            "tokens": sum(len(tokenizer.encode(piece)) for piece in pieces),
            "bytes": sum(len(piece.encode()) for piece in pieces),
        }

    def preprocess(self, batch: Batch, key: jax.Array | None = None) -> Batch:
        """Return windows as the class describes them; with a `key` and jitter, random ones."""
        batch = dict(batch)
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

    @property
    def _bytes(self) -> bool:
        """Whether every token is known to stand for one byte."""
        return isinstance(self.tokenizer, Trained) and self.tokenizer.kind == "bytes"

    @property
    def _reach(self) -> int:
        """Tokens in an example as stored: a window that begins anywhere in the first `length`, and one more."""
        return 2 * self.length if self.jitter else self.length + 1

    def _windows(self, values: np.ndarray, starts: np.ndarray) -> np.ndarray:
        """Return what follows each start, zero past the end: [n], [w] -> [w, reach]."""
        views = np.lib.stride_tricks.sliding_window_view(np.pad(values, (0, self._reach)), self._reach)
        return views[starts]

    def _pieces(self, split: Split, data_dir: str | None) -> list[str]:
        """Return the documents of a split, with what separates them."""
        *others, last = self.texts(split, data_dir)
        return [text + SEPARATOR for text in others] + [last]
