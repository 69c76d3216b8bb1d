"""Texts with spans to write, on which T5 is pretrained (Raffel et al., 2020)."""

import dataclasses
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from research.data.schema import Integer, Length, Schema, Tokens
from research.data.source import Batch
from research.data.splits import Split
from research.data.storage.records import Records
from research.data.text.documents import Documents, id_type, padded
from research.errors import UsageError
from research.fields import Range
from research.layers.sequences.spans import Counts, corrupt_spans


@dataclasses.dataclass(frozen=True)
class Spans(Documents):
    """Texts, cut into windows of `length` tokens where they are longer, in which spans are hidden.

    A batch is one of pairs, as `Pairs` gives them: `tokens` [b, s] is a window with one sentinel for each hidden span,
    `labels` [b, t] each sentinel and what it stands for. Spans are drawn anew at every training step; in evaluation
    always alike, whatever the batch. A window of one token is left out, as nothing could be hidden.

    As stored an example is {"tokens": [length], "lengths", "index"}.
    """

    name: str = "stdlib_docstrings"
    """TFDS dataset, such as "wikipedia"; "stdlib_docstrings" needs no download; or a folder of text."""
    length: Annotated[int, Range(2)] = 64
    """Tokens of a window before any is hidden."""
    rate: Annotated[float, "program", Range(0.0, 1.0, open_start=True, open_end=True)] = 0.15
    """Share of the tokens that are hidden."""
    span: Annotated[float, "program", Range(1.0)] = 3.0
    """Mean number of tokens of a hidden span."""

    @property
    def vocabulary_size(self) -> int:
        """The number of token ids: those of the tokenizer, then a sentinel for each span of a window."""
        return self.tokenizer.vocabulary_size + int(self._counts.spans.max())

    def spec(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Return shape and type of each entry of an example as stored."""
        self.check()
        number = jax.ShapeDtypeStruct((), np.int32)
        tokens = jax.ShapeDtypeStruct((self.length,), id_type(self.vocabulary_size))
        return {"tokens": tokens, "lengths": number, "index": number}

    def schema(self) -> Schema:
        """Return what the entries mean; windows are cut from the same texts."""
        tokens = Tokens(self.vocabulary_size)
        return Schema(
            {
                "tokens": tokens,
                "lengths": Length("tokens"),
                "labels": tokens,
                "label_lengths": Length("labels"),
                "targets": tokens,
                "index": Integer("number of the example"),
            },
            self._unit() or "document",
        )

    def open(self, split: Split, data_dir: str | None = None) -> Records:
        """Return random access to the windows of a split.

        Raises:
            UsageError: as `Documents.texts`; a package is missing; no text of two tokens.
        """
        rows = self._rows(split, data_dir)
        if not rows:
            raise UsageError(f'the {split} split of "{self.name}" has no text of two tokens')
        tokens, lengths = padded(rows, self.length, id_type(self.vocabulary_size))
        return Records.of({"tokens": tokens, "lengths": lengths, "index": np.arange(len(rows), dtype=np.int32)})

    def counts(self, split: Split, data_dir: str | None = None) -> dict[str, int]:
        """Return the texts of a split, its windows and their tokens."""
        rows = self._rows(split, data_dir)
        return {"texts": len(self.texts(split, data_dir)), "windows": len(rows), "tokens": sum(map(len, rows))}

    def preprocess(self, batch: Batch, key: jax.Array | None = None) -> Batch:
        """Return the batch with hidden spans. An example's draws depend on its index and the key alone."""
        key = jax.random.key(0) if key is None else key
        return corrupt_spans(
            {**batch, "tokens": batch["tokens"].astype(jnp.int32)},
            jax.vmap(jax.random.fold_in, (None, 0))(key, batch["index"]),
            counts=self._counts,
            vocabulary=self.vocabulary_size,
        )

    @property
    def _counts(self) -> Counts:
        """How much of a window is hidden, by its tokens."""
        return Counts.of(self.length, self.rate, self.span)

    def _rows(self, split: Split, data_dir: str | None) -> list[list[int]]:
        """Return the ids of the windows of a split."""
        tokenizer = self.trained(data_dir)
        return [
            ids[start : start + self.length]
            for ids in map(tokenizer.encode, self.texts(split, data_dir))
            for start in range(0, len(ids) - 1, self.length)
        ]
