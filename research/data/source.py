"""What every dataset answers: what an example looks like, how a split is opened, how a batch is prepared."""

import dataclasses
from collections.abc import Callable, Set
from pathlib import Path
from typing import Any

import jax
import numpy as np

from research.data.orders import Order, Uniform
from research.data.schema import Schema
from research.data.splits import Split
from research.data.storage.records import Records

Batch = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Data:
    """Where examples come from."""

    order: Order = dataclasses.field(default=Uniform(), kw_only=True)
    """In which order they are trained on: each once an epoch, by chance alone, or batches of about one length."""

    def spec(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Return shape and type of each entry of one raw example, without prepared data or network."""
        raise NotImplementedError

    def schema(self) -> Schema:
        """Return what each entry of an evaluation batch means, as `preprocess` returns it; as pure as `spec`."""
        raise NotImplementedError

    def lengths(self) -> dict[str, tuple[str, ...]]:
        """Return the raw entries that hold lengths [b], each with those [b, l, ...] whose steps it counts; pure too.

        There are none where examples have no lengths, or where steps past them are read all the same.
        """
        return {}

    def open(self, split: Split, data_dir: str | None = None) -> Records:
        """Return random access to a split; raise `UsageError` naming what is missing and how to get it."""
        raise NotImplementedError

    def found(self, given: Set[str] = frozenset(), data_dir: str | None = None) -> dict[str, Any]:
        """Return what examples say of this value's fields, those that are `given` taken as they are.

        Sizes, classes and the digest are those of all examples, means and deviations those of the training split, to
        three digits of the deviation. It is a function of what is in the files alone, not of where they lie.

        Raises:
            UsageError: as `open`.
        """
        return {}

    def trained(self, data_dir: str | None = None) -> Any:
        """Return what gives token ids their meaning, to be compared; None where there are no tokens."""
        return None

    def files(self, data_dir: str | None = None) -> dict[str, str]:
        """Return text files by name that belong beside a run: where examples came from, what was fitted to them."""
        return {}

    def readable(self, columns: dict[str, np.ndarray], data_dir: str | None = None) -> dict[str, np.ndarray]:
        """Return predictions by column [n, ...], with token ids turned into text."""
        return columns

    def preprocess(self, batch: Batch, key: jax.Array | None = None) -> Batch:
        """Return what the model is given for a raw batch; a `key` means training and feeds augmentation. Pure."""
        raise NotImplementedError

    def preview(self, folder: Path, data_dir: str | None = None) -> dict[str, str]:
        """Draw into `folder` what was read, as it is in the files; return {file name: what it shows}."""
        return {}

    def illustrate(self, batch: Batch, augmented: Callable[[int], Batch], folder: Path) -> dict[str, str]:
        """Draw into `folder` what training makes of a raw batch; return {file name: what it shows}.

        `augmented(step)` is the batch as that training step would prepare it.
        """
        return {}
