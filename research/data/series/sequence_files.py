"""Labelled sequences as arrays, from a file of the user or from a dataset of TFDS."""

import functools

import numpy as np

from research.data import files, splits
from research.data.dataset import Dataset
from research.data.splits import Split
from research.data.storage import catalog
from research.data.storage.records import Arrays, read
from research.errors import UsageError


def from_file(path: str, split: Split) -> tuple[Arrays, int]:
    """Return features [n, l, d], lengths and label [n] of a split of an NPZ file, and its number of classes.

    Raises:
        UsageError: as `files.numbers`; arrays that do not fit each other, or numbers that are not what they should be.
    """
    if files.has_words(path):
        raise UsageError(f"{path}: sequences are read from .npz files, with features [n, l, d] and label [n]")
    features, label = files.numbers(path, "features"), files.numbers(path, "label")
    if features.ndim != 3 or not features.size:
        raise UsageError(f'{path}: the array "features" is {features.shape}; it must be [n, l, d] and not empty')
    n, l, d = features.shape
    lengths = np.full(n, l, np.float32)
    if "lengths" in files.names(path):
        lengths = files.numbers(path, "lengths")
    for name, array, low, high in (("label", label, 0, np.inf), ("lengths", lengths, 1, l)):
        if array.shape != (n,):
            raise UsageError(f'{path}: the array "{name}" is {array.shape} for {n} sequences')
        if len(wrong := np.flatnonzero(~((array >= low) & (array <= high) & (array == np.round(array))))):
            raise UsageError(
                f'{files.place(path, wrong[0])}: "{name}" is {array[wrong[0]]:g}; it must be a whole number from {low}'
                + (f" to {high}" if high < np.inf else " on")
            )
    inside = np.arange(l) < lengths[:, None]  # [n, l]
    if len(gaps := np.argwhere(np.isnan(features) & inside[..., None])):
        row, step, channel = gaps[0]
        raise UsageError(f"{files.place(path, row)}: step {step} of channel {channel} is missing")
    rows = splits.stratified(label, splits.SHARES)[split]
    if not len(rows):
        raise UsageError(f'the {split} split of "{path}" has no examples')
    kept = features[rows]
    kept[~inside[rows]] = 0
    arrays = {
        "features": kept,
        "lengths": lengths[rows].astype(np.int32),
        "label": label[rows].astype(np.int32),
    }
    return arrays, int(label.max()) + 1


@functools.lru_cache(maxsize=8)
def from_dataset(dataset: Dataset, split: Split, folder: str) -> tuple[Arrays, int]:
    """Return features [n, longest, d], lengths and label [n] of a prepared dataset, and its number of classes.

    Raises:
        UsageError: as `Dataset.source`; examples are not sequences of vectors with a class, or some have none.
    """
    import tensorflow_datasets as tfds

    source = dataset.source(split, folder)
    entries = dict(catalog.prepared(dataset.name, folder).info.features.items())
    features, label = entries.get("features"), entries.get("label")
    if not (
        isinstance(features, tfds.features.Tensor)
        and len(features.shape) == 2
        and features.shape[1] is not None
        and isinstance(label, tfds.features.ClassLabel)
    ):
        raise UsageError(
            f'dataset "{dataset.name}" has no "features" [l, d] with a class "label"; its examples have: '
            f"{', '.join(entries)}"
        )
    examples = read(source, range(len(source)))
    lengths = np.array([len(example["features"]) for example in examples], np.int32)
    padded = np.zeros((len(examples), lengths.max(), features.shape[1]), np.float32)
    for row, example in zip(padded, examples, strict=True):
        row[: len(example["features"])] = example["features"]
    labels = np.array([example["label"] for example in examples], np.int32)
    if missing := int((labels < 0).sum()):
        raise UsageError(
            f'{missing} of {len(labels)} examples of the {split} split of "{dataset.name}" have no "label"; '
            f"choose another data.{split}"
        )
    return {"features": padded, "lengths": lengths, "label": labels}, label.num_classes
