"""Labelled sequences of vectors, padded to one length."""

import dataclasses
from collections.abc import Set
from pathlib import Path
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np

from research.data import files
from research.data.dataset import Dataset
from research.data.pictures import draw_sequences
from research.data.schema import Categorical, Length, Real, Schema
from research.data.series.sequence_files import from_dataset, from_file
from research.data.source import Batch
from research.data.splits import Split
from research.data.statistics import rounded
from research.data.storage import catalog
from research.data.storage.records import Arrays, Records
from research.data.transforms import add_noise
from research.errors import UsageError
from research.fields import Positive, Size, Switch, is_static_zero


@dataclasses.dataclass(frozen=True)
class Sequences(Dataset):
    """Sequences of vectors with a class label each, standardised by channel and padded with zeros to one length.

    An example is {"features": float32 [length, channels], "lengths": int32 [], "label": int32 []}.
    """

    name: str = "japanese_vowels"
    """TFDS dataset of "features" [l, d] with a class "label"; or the path of an .npz file with "features" [n, l, d],
    "label" [n] and, where sequences end early, "lengths" [n]: of each class, 70 % train, 10 % validate, 20 % test."""
    length: Size = 29
    """Steps that every sequence is padded to."""
    channels: Size = 12
    """Features of a step."""
    labels: Size = 9
    """Number of classes."""
    mean: tuple[float, ...] = (
        0.875,
        -0.554,
        0.247,
        -0.264,
        0.218,
        -0.213,
        -0.175,
        -0.05,
        -0.205,
        -0.179,
        -0.027,
        0.088,
    )
    """Subtracted from features, then divided by std; one value per channel, or one for all."""
    std: tuple[Positive, ...] = (0.48, 0.389, 0.299, 0.305, 0.269, 0.169, 0.158, 0.186, 0.189, 0.115, 0.097, 0.128)
    """Divides features after mean is subtracted; one value per channel, or one for all."""
    noise: Switch = 0.0
    """Augmentation: standard deviation of Gaussian noise added after standardisation, to steps that are not padding."""

    def spec(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Return shape and type of the entries of one raw example."""
        return {
            "features": jax.ShapeDtypeStruct((self.length, self.channels), np.float32),
            "lengths": jax.ShapeDtypeStruct((), np.int32),
            "label": jax.ShapeDtypeStruct((), np.int32),
        }

    def schema(self) -> Schema:
        """Return what the entries mean."""
        return Schema(
            {
                "features": Real(self.channels, "of a step, standardised"),
                "lengths": Length("features"),
                "label": Categorical(self.labels),
            },
            None if files.is_file(self.name) else catalog.unit(self.name),
        )

    def lengths(self) -> dict[str, tuple[str, ...]]:
        """Return what holds lengths, and what they count the steps of."""
        return {"lengths": ("features",)}

    def open(self, split: Split, data_dir: str | None = None) -> Records:
        """Return random access to a split.

        Raises:
            UsageError: as `Dataset.source` and `files.numbers`; sequences that are longer than `length`, of another
                number of channels, or of more classes than this value says.
        """
        self.check_digest()
        arrays, classes = self._read(split, data_dir)
        features, lengths = arrays["features"], arrays["lengths"]
        n, l, d = features.shape
        if (longest := int(lengths.max())) > self.length:
            raise UsageError(f'a sequence of "{self.name}" has {longest} steps: set data.length to {longest} or more')
        if d != self.channels:
            raise UsageError(f'the sequences of "{self.name}" have {d} channels: set data.channels to {d}')
        if classes != self.labels:
            raise UsageError(f'"{self.name}" has {classes} classes: set data.labels to {classes}')
        if l != self.length:
            padded = np.zeros((n, self.length, d), np.float32)
            padded[:, :l] = features[:, : self.length]
            arrays = {**arrays, "features": padded}
        return Records.of(arrays)

    def preprocess(self, batch: Batch, key: jax.Array | None = None) -> Batch:
        """Return the batch with "features" standardised, float32 [b, l, d], and zero from "lengths" on.

        With a `key`, they are augmented. Other entries pass through.
        """
        features = batch["features"]
        b, l, d = features.shape
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, d):
                raise UsageError(
                    f"data.{name} has {len(values)} values for sequences of {d} channels: give one for each, or "
                    "one for all"
                )
        mean, std = (
            jnp.stack([jnp.asarray(value, jnp.float32) for value in values])[None, None]
            for values in (self.mean, self.std)
        )
        features = (features - mean) / std
        if key is not None and not is_static_zero(self.noise):
            features = add_noise(key, features, self.noise)
        inside = jnp.arange(l)[None] < batch["lengths"][:, None]  # [b, l]
        return {**batch, "features": jnp.where(inside[..., None], features, 0)}

    def statistics(self, data_dir: str | None = None) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Return mean and standard deviation of each channel over the steps of the training split."""
        arrays = self.open("train", data_dir).arrays()
        inside = np.arange(self.length) < arrays["lengths"][:, None]  # [n, l]
        steps = arrays["features"][inside].astype(np.float64)  # [steps, d]
        return tuple(steps.mean(axis=0).tolist()), tuple(steps.std(axis=0).tolist())

    def digest(self) -> str:
        """Return the digest of the file; "" of a dataset."""
        return files.digest(self.name) if files.is_file(self.name) else ""

    def found(self, given: Set[str] = frozenset(), data_dir: str | None = None) -> dict[str, Any]:
        """Return length, channels and labels, mean and std of each channel, and the digest."""
        every = [self._read(split, data_dir) for split in get_args(Split)]
        arrays, labels = every[0]
        sizes = {
            "length": max(int(arrays["lengths"].max()) for arrays, _ in every),
            "channels": arrays["features"].shape[-1],
            "labels": labels,
        }
        mean, std = rounded(zip(*dataclasses.replace(self, **sizes, sha256="").statistics(data_dir), strict=True))
        return {**sizes, "mean": mean, "std": std, "sha256": self.digest()}

    def preview(self, folder: Path, data_dir: str | None = None) -> dict[str, str]:
        """Draw `preview.png`: the first training sequences of some classes."""
        arrays, _ = self._read("train", data_dir)
        draw_sequences(arrays["features"], arrays["lengths"], arrays["label"], folder / "preview.png")
        return {"preview.png": "the first training sequences of some classes, as they were read"}

    def _read(self, split: Split, data_dir: str | None) -> tuple[Arrays, int]:
        """Return features, lengths and label of a split as they are, and the number of classes."""
        if files.is_file(self.name):
            files.check_unset(self)
            return from_file(self.name, split)
        dataset = Dataset(self.name, self.train, self.validation, self.test)
        return from_dataset(dataset, split, catalog.data_folder(data_dir))

    def files(self, data_dir: str | None = None) -> dict[str, str]:
        """Return `dataset.json`: where the sequences came from."""
        return files.describe(self.name) if files.is_file(self.name) else super().files(data_dir)
