"""What an example of an image dataset holds: an image of one size, and what is to be told from it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from research.data.images.image_files import square
from research.data.schema import Categorical, Image, Labels, Meaning, Presence, Real
from research.data.storage.records import Source
from research.errors import UsageError

Example = Mapping[str, Any]


class Entry(NamedTuple):
    """Shape and type of an entry, what it means, and how it comes out of an example of the source."""

    spec: jax.ShapeDtypeStruct
    meaning: Meaning
    of: Callable[[Example], Any]


class Entries:
    """The examples of another source, made into entries when they are read."""

    def __init__(self, source: Source, entries: Mapping[str, Entry]) -> None:
        self._source, self._entries = source, entries

    def __len__(self) -> int:
        return len(self._source)

    def __getitems__(self, keys: Sequence[int], /) -> Sequence[dict[str, Any]]:
        return [
            {name: entry.of(example) for name, entry in self._entries.items()}
            for example in self._source.__getitems__(keys)
        ]


def describe(builder: Any, size: int | None = None) -> dict[str, Entry]:
    """Return what is read of the examples of a TFDS dataset: "image", and those of the others that it has.

    "image" is uint8 [h, w, c], or [size, size, c]. "label" is a class. "labels", read where there is no class, is k
    numbers 0, 1, or -1 where missing, or a list of those of k classes that apply. "target" is k numbers, NaN where
    missing, and gets "present" beside it.

    Raises:
        UsageError: there is no uint8 image, nothing is told from it, or images differ in size and `size` is None.
    """
    import tensorflow_datasets as tfds

    features = builder.info.features
    found = dict(features.items()) if isinstance(features, tfds.features.FeaturesDict) else {}
    answers = _answers(found)
    if not isinstance(found.get("image"), tfds.features.Tensor | tfds.features.Image) or not answers:
        raise UsageError(
            f'dataset "{builder.name}" has no "image" with a class "label", with "labels" or a "target"; '
            f"its examples have: {', '.join(found)}"
        )
    shape, dtype = found["image"].shape, np.dtype(found["image"].np_dtype)
    if len(shape) != 3 or shape[-1] is None:
        raise UsageError(f'the images of dataset "{builder.name}" are {shape}; they must be [h, w, c] with one c')
    if dtype != np.uint8:
        raise UsageError(f'the images of dataset "{builder.name}" are {dtype}; they must be uint8')
    if size is None and None in shape:
        raise UsageError(
            f'the images of dataset "{builder.name}" differ in size: set data.size, the side in pixels to scale to'
        )
    return {"image": image(shape, size), **answers}


def image(shape: tuple[int, int, int], size: int | None) -> Entry:
    """Return the entry of images [h, w, c], or scaled to [size, size, c]."""
    if size is None:
        return _as_it_is("image", shape, np.uint8, Image(*shape))

    def scaled(example: Example) -> np.ndarray:
        """Return the image of an example, scaled."""
        found = example["image"]
        if found.shape[-1] != shape[-1]:
            raise UsageError(f"an image has {found.shape[-1]} channels where its dataset promises {shape[-1]}")
        return square(found, size)

    resized = (size, size, shape[-1])
    return Entry(jax.ShapeDtypeStruct(resized, np.uint8), Image(*resized), scaled)


def label(names: Sequence[str]) -> Entry:
    """Return the entry of a class, one of those that `names` lists."""
    return _as_it_is("label", (), np.int32, Categorical(len(names), tuple(names)))


def _answers(features: Mapping[str, Any]) -> dict[str, Entry]:
    """Return the entries besides the image, of TFDS features by name."""
    import tensorflow_datasets as tfds

    entries: dict[str, Entry] = {}
    one, several, numbers = (features.get(name) for name in ("label", "labels", "target"))
    if isinstance(one, tfds.features.ClassLabel):
        entries["label"] = label(one.names)
    elif isinstance(several, tfds.features.Sequence) and isinstance(several.feature, tfds.features.ClassLabel):
        entries["labels"] = _listed(several.feature.names)
    elif k := _length(several, "iu"):
        entries["labels"] = _as_it_is("labels", (k,), np.int32, Labels(k, tuple(map(str, range(k)))))
    if k := _length(numbers, "f"):
        entries["target"] = Entry(
            jax.ShapeDtypeStruct((k,), np.float32), Real(k), lambda example: _zeroed(example["target"])
        )
        entries["present"] = Entry(
            jax.ShapeDtypeStruct((k,), np.bool_), Presence("target"), lambda example: ~np.isnan(example["target"])
        )
    return entries


def _length(feature: Any, kinds: str) -> int:
    """Return the k of a TFDS feature [k] of NumPy types of these kinds, 0 for any other feature."""
    import tensorflow_datasets as tfds

    if not isinstance(feature, tfds.features.Tensor) or np.dtype(feature.np_dtype).kind not in kinds:
        return 0
    return (feature.shape[0] or 0) if len(feature.shape) == 1 else 0


def _zeroed(target: np.ndarray) -> np.ndarray:
    """Return numbers with 0 where one is missing."""
    return np.where(np.isnan(target), 0, target)


def _as_it_is(name: str, shape: tuple[int, ...], dtype: Any, meaning: Meaning) -> Entry:
    """Return an entry that is read as the source has it."""
    return Entry(jax.ShapeDtypeStruct(shape, dtype), meaning, lambda example: example[name])


def _listed(names: Sequence[str]) -> Entry:
    """Return the entry of a list of classes: 1 for each of those named that is in it, else 0."""
    k = len(names)
    return Entry(
        jax.ShapeDtypeStruct((k,), np.int32),
        Labels(k, tuple(names)),
        lambda example: np.isin(np.arange(k), example["labels"]).astype(np.int32),
    )
