"""Pairs of texts: a source, and the target to be written for it."""

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from research.data.dataset import Dataset
from research.data.schema import Length, Schema, Tokens
from research.data.source import Batch
from research.data.splits import Split
from research.data.storage import catalog
from research.data.storage.records import Records
from research.data.text.documents import check_texts, columns, decode, id_type, is_token_ids, padded
from research.data.text.tokenization import FromFile, Trained
from research.data.text.tokenizers import Tokenizer
from research.errors import UsageError
from research.fields import Size
from research.tokens import END, PADDING, START, UNKNOWN


@dataclasses.dataclass(frozen=True)
class Pairs(Dataset):
    """A TFDS dataset of pairs of texts, for sequence-to-sequence models.

    As stored an example is {"tokens": the source [s], "lengths", "labels": the target, then the end token [t],
    "label_lengths"}; a batch adds `targets` [b, t], what a decoder reads: the start token, then the target.

    A training pair that does not fit is left out. Validation and test keep every pair: of a source the beginning is
    read, and a target that is too long ends with the unknown token, which no prediction can match. The tokenizers are
    trained on the training split alone, or come from files.
    """

    name: str = "babel_dates"
    """TFDS dataset, such as "ted_hrlr_translate/pt_to_en"; "babel_dates" and "cmudict" need no download."""
    source_feature: str = "source"
    """Text feature that is read."""
    target_feature: str = "target"
    """Text feature to be written."""
    source_tokenizer: Trained | FromFile = Trained("characters", 128)
    """What a token of the source is, and how many ids there are."""
    target_tokenizer: Trained | FromFile = Trained("characters", 16)
    """What a token of the target is, "words" for phonemes, and how many ids there are."""
    source_length: Size = 40
    """Tokens of a source at most."""
    target_length: Size = 11
    """Tokens of a target at most, the end token included."""

    def spec(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Return shape and type of each entry of an example as stored."""
        self.check()
        return {
            "tokens": jax.ShapeDtypeStruct((self.source_length,), id_type(self.source_tokenizer.vocabulary_size)),
            "lengths": jax.ShapeDtypeStruct((), np.int32),
            "labels": jax.ShapeDtypeStruct((self.target_length,), id_type(self.target_tokenizer.vocabulary_size)),
            "label_lengths": jax.ShapeDtypeStruct((), np.int32),
        }

    def schema(self) -> Schema:
        """Return what the entries mean."""
        source, target = Tokens(self.source_tokenizer.vocabulary_size), Tokens(self.target_tokenizer.vocabulary_size)
        return Schema(
            {
                "tokens": source,
                "lengths": Length("tokens"),
                "labels": target,
                "label_lengths": Length("labels"),
                "targets": target,
            },
            catalog.unit(self.name),
        )

    def lengths(self) -> dict[str, tuple[str, ...]]:
        """Return what holds lengths, and what they count the steps of.

        In an order by length a pair is as long as the longer side, and both sides are cut to the same number of steps,
        as far as they have it: a boundary is one program, where one for each side would be their product.
        """
        return {"lengths": ("tokens",), "label_lengths": ("labels",)}

    def check(self) -> None:
        """Raise `UsageError` where the dataset has no such texts, or a tokenizer no room; needs no prepared data."""
        self.source_tokenizer.check(special=True)
        self.target_tokenizer.check(special=True)
        check_texts(catalog.find(self.name), self.source_feature, self.target_feature)

    def trained(self, data_dir: str | None = None) -> tuple[Tokenizer, Tokenizer]:
        """Return the tokenizers of source and target."""
        return (
            self.source_tokenizer.tokenizer(lambda: self._texts("train", data_dir)[0], special=True),
            self.target_tokenizer.tokenizer(lambda: self._texts("train", data_dir)[1], special=True),
        )

    def open(self, split: Split, data_dir: str | None = None) -> Records:
        """Return random access to the pairs of a split.

        Raises:
            UsageError: as `Dataset.source` and `check`; a tokenizer's package is missing; no training pair fits.
        """
        sources, targets = self._rows(split, data_dir)
        if split == "train":
            fitting = [self._fits(*pair) for pair in zip(sources, targets, strict=True)]
            if not any(fitting):
                raise UsageError(
                    f'no pair of "{self.name}" fits data.source_length={self.source_length} '
                    f"and data.target_length={self.target_length}"
                )
            sources, targets = (
                [row for row, fits in zip(rows, fitting, strict=True) if fits] for rows in (sources, targets)
            )
        tokens, lengths = padded(sources, self.source_length, id_type(self.source_tokenizer.vocabulary_size))
        labels, label_lengths = padded(targets, self.target_length, id_type(self.target_tokenizer.vocabulary_size))
        labels[[len(row) > self.target_length for row in targets], -1] = UNKNOWN
        return Records.of({"tokens": tokens, "lengths": lengths, "labels": labels, "label_lengths": label_lengths})

    def counts(self, split: Split, data_dir: str | None = None) -> dict[str, int]:
        """Return the pairs of a split and how many do not fit, or have a target with unknown tokens."""
        sources, targets = self._rows(split, data_dir)
        fitting = sum(self._fits(*pair) for pair in zip(sources, targets, strict=True))
        return {
            "pairs": len(sources),
            "dropped" if split == "train" else "cut": len(sources) - fitting,
            "unknown_targets": sum(UNKNOWN in target for target in targets),
        }

    def files(self, data_dir: str | None = None) -> dict[str, str]:
        """Return `dataset.json` with the counts of every split, and both trained tokenizers."""
        described: dict[str, Any] = json.loads(super().files(data_dir)["dataset.json"])
        described["read"] = {split: self.counts(split, data_dir) for split in ("train", "validation", "test")}
        source, target = self.trained(data_dir)
        return {
            "dataset.json": json.dumps(described, indent=2) + "\n",
            "source_tokenizer.json": source.to_json(),
            "target_tokenizer.json": target.to_json(),
        }

    def readable(self, columns: dict[str, np.ndarray], data_dir: str | None = None) -> dict[str, np.ndarray]:
        """Return `source`, `target` and `prediction`, token ids [n, l], as texts [n], each up to its end token."""
        source, target = self.trained(data_dir)
        return {
            name: decode(source if name == "source" else target, ended(column))
            if is_token_ids(name, column)
            else column
            for name, column in columns.items()
        }

    def preprocess(self, batch: Batch, key: jax.Array | None = None) -> Batch:
        """Return the batch with `targets` [b, t], all ids int32; nothing is random."""
        labels = batch["labels"].astype(jnp.int32)
        shifted = jnp.pad(labels[:, :-1], ((0, 0), (1, 0)), constant_values=START)
        counts = jnp.arange(labels.shape[1])[None] < batch["label_lengths"][:, None]  # [b, t]
        return {
            **batch,
            "tokens": batch["tokens"].astype(jnp.int32),
            "labels": labels,
            "targets": jnp.where(counts, shifted, PADDING),
        }

    def _texts(self, split: Split, data_dir: str | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the sources and the targets of a split."""
        self.check()
        sources, targets = columns(self, (self.source_feature, self.target_feature), split, data_dir)
        return sources, targets

    def _rows(self, split: Split, data_dir: str | None) -> tuple[list[list[int]], list[list[int]]]:
        """Return the ids of sources, and of targets with their end token, of any length."""
        sources, targets = self._texts(split, data_dir)
        source, target = self.trained(data_dir)
        return [source.encode(text) for text in sources], [[*target.encode(text), END] for text in targets]

    def _fits(self, source: list[int], target: list[int]) -> bool:
        """Return whether a pair need not be cut."""
        return len(source) <= self.source_length and len(target) <= self.target_length


def ended(ids: np.ndarray) -> np.ndarray:
    """Return ids [n, l] with all that comes after the first end token of a row padded."""
    return np.where(np.cumsum(ids == END, axis=1) > 0, PADDING, ids)
