"""Any TFDS dataset of labelled images by name, with errors that say what to do. Only `prepare` uses the network."""

import difflib
import os
import re
from typing import Any, NamedTuple

import jax
import numpy as np

from research.data import preparation
from research.data.records import Records
from research.errors import UsageError, suggestion


class Description(NamedTuple):
    """Shape [h, w, c] of the images and names of the classes."""

    shape: tuple[int, int, int]
    class_names: tuple[str, ...]

    @property
    def example(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shape and type of the entries of one raw example."""
        return {"image": jax.ShapeDtypeStruct(self.shape, np.uint8), "label": jax.ShapeDtypeStruct((), np.int32)}


def data_folder(data_dir: str | None = None) -> str:
    """Return the folder of prepared datasets: as given, else TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return os.path.expanduser(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def find(name: str, data_dir: str | None = None) -> Any:
    """Return the TFDS builder of a dataset, prepared or not.

    Raises:
        UsageError: there is no such dataset, or it cannot be described without TensorFlow.
    """
    import tensorflow_datasets as tfds

    from research.data.builders import OWN

    folder = data_folder(data_dir)
    if name in OWN:
        return OWN[name](data_dir=folder)
    try:
        with preparation.quiet():
            return tfds.builder(name, data_dir=folder)
    except tfds.core.DatasetNotFoundError as error:
        base = re.split("[/:]", name)[0]
        names = [*OWN, *tfds.list_builders(with_community_datasets=False)]
        hint = f"; {' and '.join(OWN)} need no download, the others are at https://www.tensorflow.org/datasets/catalog"
        if difflib.get_close_matches(base, names):
            hint = suggestion(base, names)
        raise UsageError(f'unknown dataset "{name}"{hint}') from error
    except (ImportError, ValueError, AssertionError, RuntimeError) as error:
        reason = preparation.first_line(error).rpartition('}": ')[2]  # TFDS puts all its arguments in front
        raise UsageError(f'dataset "{name}" cannot be described: {reason}') from error


def describe(builder: Any) -> Description:
    """Return what a dataset's examples look like.

    Raises:
        UsageError: examples do not have an "image" of one size in uint8 and a "label" that is a class.
    """
    import tensorflow_datasets as tfds

    features = builder.info.features
    entries = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    image, label = entries.get("image"), entries.get("label")
    if not (
        isinstance(image, tfds.features.Tensor | tfds.features.Image) and isinstance(label, tfds.features.ClassLabel)
    ):
        raise UsageError(
            f'dataset "{builder.name}" has no "image" with a class "label"; its examples have: {", ".join(entries)}'
        )
    if len(image.shape) != 3 or None in image.shape:
        raise UsageError(
            f'the images of dataset "{builder.name}" are {image.shape}; they must be of one size [h, w, c]'
        )
    if image.np_dtype != np.uint8:
        raise UsageError(f'the images of dataset "{builder.name}" are {np.dtype(image.np_dtype)}; they must be uint8')
    return Description(tuple(image.shape), tuple(label.names))


def prepared(name: str, data_dir: str | None = None) -> Any:
    """Return the builder of a dataset that is ready to be read; our own datasets are written first if need be.

    Raises:
        UsageError: as `find` and `describe`; the dataset is not prepared, or not as ArrayRecord.
    """
    builder = find(name, data_dir)
    describe(builder)
    if preparation.is_prepared(builder):
        return builder
    if not preparation.is_packaged(builder):
        folder = data_folder(data_dir)
        raise UsageError(
            f'dataset "{name}" is not prepared in {folder}; '
            f"run: python -m research.data prepare {name} --data-dir {folder}"
        )
    preparation.prepare_packaged(builder)
    return find(name, data_dir)


def prepare(name: str, data_dir: str | None = None) -> Any:
    """Download and write a dataset unless it is prepared already; return its builder.

    Raises:
        UsageError: as `find` and `describe`; TensorFlow is missing, the download fails, or the folder is not writable.
    """
    builder = find(name, data_dir)
    describe(builder)
    if not preparation.is_prepared(builder) and not preparation.is_packaged(builder):
        preparation.prepare_catalogue(builder)
    return prepared(name, data_dir)


def records(builder: Any, expression: str) -> Records:
    """Return random access to the examples of a TFDS split expression such as "train[:800]" or "train+test".

    Raises:
        UsageError: a split that the dataset does not have, or an expression that cannot be read.
    """
    splits = list(builder.info.splits)
    for name in re.findall(r"(?:^|\+)\s*([^\[+]*)", expression):
        if name.strip() not in (*splits, "all"):
            raise UsageError(
                f'dataset "{builder.name}" has no split "{name.strip()}"; its splits are {", ".join(sorted(splits))}'
            )
    try:
        return Records(builder.as_data_source(expression), describe(builder).example)
    except NotImplementedError as error:
        raise UsageError(
            f'dataset "{builder.name}" in {builder.data_path} is not stored as array_record; '
            "prepare it in another folder with --data-dir"
        ) from error
    except (ValueError, AssertionError) as error:
        reason = preparation.first_line(error)
        raise UsageError(f'split "{expression}" of dataset "{builder.name}" cannot be read: {reason}') from error


def shared(builder: Any, one: str, other: str) -> int:
    """Return how many examples two TFDS split expressions have in common; both have been read by `records`."""
    import tensorflow_datasets as tfds

    splits = builder.info.splits

    def spans(expression: str) -> list[tuple[str, int, int]]:
        """Return the parts of an expression: split, first example, one after the last."""
        parts = tfds.core.ReadInstruction.from_spec(expression).to_absolute(splits)
        ends = [splits[part.splitname].num_examples if part.to is None else part.to for part in parts]
        return [(part.splitname, part.from_ or 0, end) for part, end in zip(parts, ends, strict=True)]

    return sum(
        max(min(stop, other_stop) - max(start, other_start), 0)
        for split, start, stop in spans(one)
        for other_split, other_start, other_stop in spans(other)
        if split == other_split
    )
