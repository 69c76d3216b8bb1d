"""Labelled images of one size: any TFDS image classification dataset, by name."""

import dataclasses
from typing import Annotated, Any, NamedTuple

import jax
import numpy as np

from research.data import catalog
from research.data.dataset import Dataset
from research.data.records import Records
from research.data.source import Batch, Split
from research.data.transforms import add_noise, random_flip, random_shift, standardize
from research.errors import UsageError
from research.fields import Positive, Range, Switch, is_off


@dataclasses.dataclass(frozen=True)
class Images(Dataset):
    """A TFDS dataset of images and class labels, standardised, with optional augmentation of training batches.

    An example is {"image": uint8 [h, w, c], "label": int32 []}.
    """

    name: str = "digits"
    """TFDS dataset, such as "mnist", "cifar10" or "emnist/letters"; "digits" and "mnist5k" need no download."""
    mean: tuple[float, ...] = (0.5,)
    """Subtracted from pixels in [0, 1], then divided by std; one value per channel, or one for all."""
    std: tuple[Positive, ...] = (0.5,)
    """Divides pixels in [0, 1] after mean is subtracted; one value per channel, or one for all."""
    shift: Annotated[int, Range(0)] = 0
    """Augmentation: random translation by up to this many pixels each way; black comes in."""
    flip: bool = False
    """Augmentation: left-right mirror image with probability 1/2."""
    noise: Switch = 0.0
    """Augmentation: standard deviation of Gaussian noise added after standardisation."""

    def spec(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Return shape and type of image and label of one raw example, without prepared data or network."""
        shape, _ = describe(catalog.find(self.name))
        return {"image": jax.ShapeDtypeStruct(shape, np.uint8), "label": jax.ShapeDtypeStruct((), np.int32)}

    def classes(self) -> int:
        """Return the number of classes."""
        return len(self.class_names())

    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of their labels."""
        return describe(catalog.find(self.name)).class_names

    def open(self, split: Split, data_dir: str | None = None) -> Records:
        """Return random access to a split.

        Raises:
            UsageError: as `Dataset.source`; the dataset has no images of one size with class labels.
        """
        spec = self.spec()
        return Records(self.source(split, data_dir), spec)

    def preprocess(self, batch: Batch, key: jax.Array | None = None) -> Batch:
        """Return the batch with "image" standardised, float32 [b, h, w, c]; with a `key`, augmented.

        Other entries pass through. Augmentation is part of the compiled step, so its draws are a function of the key.
        """
        images = batch["image"]
        if key is None:
            return {**batch, "image": standardize(images, self.mean, self.std)}
        # Always three keys, so that switching one augmentation leaves the draws of the others as they were.
        shift_key, flip_key, noise_key = jax.random.split(key, 3)
        if self.shift:
            images = random_shift(shift_key, images, self.shift)
        if self.flip:
            images = random_flip(flip_key, images)
        images = standardize(images, self.mean, self.std)
        if not is_off(self.noise):
            images = add_noise(noise_key, images, self.noise)
        return {**batch, "image": images}


class Description(NamedTuple):
    """Shape [h, w, c] of the images and names of the classes."""

    shape: tuple[int, int, int]
    class_names: tuple[str, ...]


def describe(builder: Any) -> Description:
    """Return what the examples of a TFDS dataset look like.

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
