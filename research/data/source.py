"""What every dataset answers: what an example looks like, how a split is opened, how a batch is prepared."""

import dataclasses
from typing import Any, Literal

import jax

from research.data.records import Records

Batch = dict[str, Any]
Split = Literal["train", "validation", "test"]


@dataclasses.dataclass(frozen=True)
class Data:
    """Where examples come from."""

    def spec(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Return shape and type of each entry of one raw example, without prepared data or network."""
        raise NotImplementedError

    def classes(self) -> int | None:
        """Return the number of classes, or None where examples have none."""
        raise NotImplementedError

    def open(self, split: Split, data_dir: str | None = None) -> Records:
        """Return random access to a split; raise `UsageError` naming what is missing and how to get it."""
        raise NotImplementedError

    def preprocess(self, batch: Batch, key: jax.Array | None = None) -> Batch:
        """Return what the model is given for a raw batch; a `key` means training and feeds augmentation. Pure."""
        raise NotImplementedError
