"""Texts and the class of each: sentiment, topic, kind."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from research.data.schema import Categorical, Length, Schema, Tokens
from research.data.source import Batch
from research.data.splits import Split
from research.data.storage import catalog
from research.data.storage.records import Records
from research.data.text.documents import Documents, columns, described, id_type, is_own, padded
from research.errors import UsageError
from research.fields import Size
from research.tokens import START


@dataclasses.dataclass(frozen=True)
class LabelledText(Documents):
    """A TFDS dataset of texts and class labels.

    An example is {"tokens": [l], "lengths": [], "label": []}: the start token, then the text, cut to `length` tokens
    together.
    """

    name: str = "stdlib_docstrings"
    """TFDS dataset, such as "imdb_reviews"; "stdlib_docstrings" needs no download."""
    label: str = "kind"
    """Class feature of the dataset; of most "label"."""
    length: Size = 64
    """Tokens at most, the start token included."""

    def spec(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Return shape and type of each entry of an example."""
        self.check()
        return {
            "tokens": jax.ShapeDtypeStruct((self.length,), id_type(self.vocabulary_size)),
            "lengths": jax.ShapeDtypeStruct((), np.int32),
            "label": jax.ShapeDtypeStruct((), np.int32),
        }

    def schema(self) -> Schema:
        """Return what the entries mean, with the names of the classes."""
        names = self.class_names()
        return Schema(
            {
                "tokens": Tokens(self.vocabulary_size),
                "lengths": Length("tokens"),
                "label": Categorical(len(names), names),
            },
            self._unit(),
        )

    def lengths(self) -> dict[str, tuple[str, ...]]:
        """Return what holds lengths, and what they count the steps of."""
        return {"lengths": ("tokens",)}

    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of their labels."""
        import tensorflow_datasets as tfds

        if is_own(self.name):
            raise UsageError(f"{self.name} is a path, and labelled texts are read from TFDS datasets alone; name one")
        entries = described(catalog.find(self.name))
        entry = entries.get(self.label)
        if not isinstance(entry, tfds.features.ClassLabel):
            raise UsageError(
                f'dataset "{self.name}" has no class "{self.label}"; its examples have: {", ".join(entries)}'
            )
        return tuple(entry.names)

    def check(self) -> None:
        """Raise `UsageError` also where the dataset has no such label."""
        super().check()
        self.class_names()

    def open(self, split: Split, data_dir: str | None = None) -> Records:
        """Return random access to a split.

        Raises:
            UsageError: as `Documents.texts`; a package is missing; examples have no label.
        """
        (labels,) = columns(self, (self.label,), split, data_dir)
        if missing := sum(label < 0 for label in labels):
            raise UsageError(
                f'{missing} of {len(labels)} examples of the {split} split of "{self.name}" have no "{self.label}"; '
                f"choose another data.{split}"
            )
        tokens, lengths = padded(self._rows(split, data_dir), self.length, id_type(self.vocabulary_size))
        return Records.of({"tokens": tokens, "lengths": lengths, "label": np.array(labels, np.int32)})

    def counts(self, split: Split, data_dir: str | None = None) -> dict[str, int]:
        """Return the examples of a split, and how many were too long."""
        rows = self._rows(split, data_dir)
        return {"examples": len(rows), "cut": sum(len(row) > self.length for row in rows)}

    def preprocess(self, batch: Batch, key: jax.Array | None = None) -> Batch:
        """Return the batch with `tokens` int32 [b, l]; nothing is random."""
        return {**batch, "tokens": batch["tokens"].astype(jnp.int32)}

    def _rows(self, split: Split, data_dir: str | None) -> list[list[int]]:
        """Return the ids of every text, of any length."""
        tokenizer = self.trained(data_dir)
        return [[START, *tokenizer.encode(text)] for text in self.texts(split, data_dir)]
