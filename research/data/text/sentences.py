"""Pairs of sentences with words to guess, on which BERT is pretrained (Devlin, Chang, Lee and Toutanova, 2019)."""

import dataclasses
import itertools
import re
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from research.data.schema import Categorical, Integer, Length, Presence, Schema, Tokens
from research.data.source import Batch
from research.data.splits import Split
from research.data.storage.records import Records
from research.data.text.documents import Documents, id_type, padded
from research.errors import UsageError
from research.fields import Range, Rate
from research.layers.sequences.masking import mask_tokens
from research.tokens import END, MASK, SPECIAL, START


class Pair(NamedTuple):
    """The ids of two sentences, and whether the second follows the first."""

    first: list[int]
    second: list[int]
    follows: bool


@dataclasses.dataclass(frozen=True)
class Sentences(Documents):
    """Neighbouring sentences of one document; every second pair has a random second sentence of another document.

    A sentence ends at ".", "!", "?" or ":" before a space, or at an empty line. As stored an example is {"tokens":
    start, the first sentence, end, the second, end, "segments": 0 up to the first end, then 1, both [l], "lengths",
    "next": 1 where the second follows, "index"}. A batch adds `targets` and `predicted` [b, l], and `tokens` are masked
    anew at every training step; in evaluation always alike, whatever the batch.
    """

    name: str = "stdlib_docstrings"
    """TFDS dataset, such as "wikipedia"; "stdlib_docstrings" needs no download; or a folder of text."""
    length: Annotated[int, Range(5)] = 64
    """Tokens at most, three of them special; the longer sentence is cut first."""
    masking: Rate = 0.15
    """Share of tokens to be guessed."""

    def spec(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Return shape and type of each entry of an example as stored."""
        self.check()
        number = jax.ShapeDtypeStruct((), np.int32)
        return {
            "tokens": jax.ShapeDtypeStruct((self.length,), id_type(self.vocabulary_size)),
            "segments": jax.ShapeDtypeStruct((self.length,), np.uint8),
            "lengths": number,
            "next": number,
            "index": number,
        }

    def schema(self) -> Schema:
        """Return what the entries mean; pairs are of the same documents."""
        tokens = Tokens(self.vocabulary_size)
        return Schema(
            {
                "tokens": tokens,
                "targets": tokens,
                "predicted": Presence("targets"),
                "segments": Categorical(2, ("first sentence", "second sentence")),
                "lengths": Length("tokens"),
                "next": Categorical(2, ("of another document", "the next sentence")),
                "index": Integer("number of the example"),
            },
            self._unit() or "document",
        )

    def lengths(self) -> dict[str, tuple[str, ...]]:
        """Return what holds lengths, and what they count the steps of."""
        return {"lengths": ("tokens", "segments")}

    def open(self, split: Split, data_dir: str | None = None) -> Records:
        """Return random access to the pairs of a split.

        Raises:
            UsageError: as `Documents.texts`; a package is missing; no pairs, or no other document to draw from.
        """
        pairs = self._pairs(split, data_dir)
        firsts, rows = [], []
        for pair in pairs:
            first, second = self._fit(pair)
            firsts.append(len(first) + 2)
            rows.append([START, *first, END, *second, END])
        tokens, lengths = padded(rows, self.length, id_type(self.vocabulary_size))
        place = np.arange(self.length)[None]
        second_part = (place >= np.array(firsts)[:, None]) & (place < lengths[:, None])
        return Records.of(
            {
                "tokens": tokens,
                "segments": second_part.astype(np.uint8),
                "lengths": lengths,
                "next": np.array([pair.follows for pair in pairs], np.int32),
                "index": np.arange(len(pairs), dtype=np.int32),
            }
        )

    def counts(self, split: Split, data_dir: str | None = None) -> dict[str, int]:
        """Return the pairs of a split, and how many were too long."""
        pairs = self._pairs(split, data_dir)
        cut = sum(len(pair.first) + len(pair.second) + 3 > self.length for pair in pairs)
        return {"examples": len(pairs), "cut": cut}

    def preprocess(self, batch: Batch, key: jax.Array | None = None) -> Batch:
        """Return the batch with words to guess. An example's draws depend on its index and the key alone."""
        key = jax.random.key(0) if key is None else key
        batch = {**batch, "tokens": batch["tokens"].astype(jnp.int32), "segments": batch["segments"].astype(jnp.int32)}
        return mask_tokens(
            batch,
            jax.vmap(jax.random.fold_in, (None, 0))(key, batch["index"]),
            vocabulary=self.vocabulary_size,
            mask_token=MASK,
            special_tokens=tuple(range(SPECIAL)),
            rate=self.masking,
        )

    def _pairs(self, split: Split, data_dir: str | None) -> list[Pair]:
        """Return the pairs of a split, untrimmed."""
        tokenizer = self.trained(data_dir)
        documents = [[tokenizer.encode(text) for text in sentences(text)] for text in self.texts(split, data_dir)]
        documents = [document for document in documents if len(document) > 1]
        if len(documents) < 2:
            raise UsageError(f'the {split} split of "{self.name}" has fewer than two texts of two sentences')
        everything = [sentence for document in documents for sentence in document]
        generator = np.random.default_rng(0)
        pairs: list[Pair] = []
        stop = 0
        for document in documents:
            stop += len(document)
            for first, second in itertools.pairwise(document):
                follows = len(pairs) % 2 == 0
                if not follows:  # counted from the end of this document, all but its own sentences
                    drawn = stop + generator.integers(len(everything) - len(document))
                    second = everything[drawn % len(everything)]
                pairs.append(Pair(first, second, follows))
        return pairs

    def _fit(self, pair: Pair) -> tuple[list[int], list[int]]:
        """Cut the longer sentence, then both alike, until they fit."""
        room = self.length - 3
        first = pair.first[: max(room - len(pair.second), (room + 1) // 2)]
        return first, pair.second[: room - len(first)]


def sentences(text: str) -> list[str]:
    """Return the sentences of a text that hold a letter or digit, their words a space apart."""
    parts = re.split(r"(?<=[.!?:])\s+|\n\s*\n", text)
    return [" ".join(part.split()) for part in parts if any(character.isalnum() for character in part)]
