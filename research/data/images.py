"""Labelled images of one size: any TFDS image classification dataset, by name."""

import dataclasses
import itertools
from typing import Annotated, get_args

import jax

from research.data import catalog
from research.data.records import Records
from research.data.source import Batch, Data, Split
from research.data.transforms import add_noise, random_flip, random_shift, standardize
from research.errors import UsageError, suggestion
from research.fields import Positive, Range, Switch, is_off


@dataclasses.dataclass(frozen=True)
class Images(Data):
    """A TFDS dataset of images and class labels, standardised, with optional augmentation of training batches.

    "digits" and "mnist5k" need no download and are prepared when first opened; every other dataset is prepared once by
    `python -m research.data prepare NAME`. An example is {"image": uint8 [h, w, c], "label": int32 []}.
    """

    name: str = "digits"
    """TFDS dataset, such as "mnist", "cifar10" or "emnist/letters"; "digits" and "mnist5k" need no download."""
    train: str | None = None
    """TFDS split expression such as "train[:800]"; None: "train"."""
    validation: str | None = None
    """TFDS split expression; None: "validation", or where there is none the last tenth of train, which loses it."""
    test: str | None = None
    """TFDS split expression; None: "test"."""
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
        return catalog.describe(catalog.find(self.name)).example

    def classes(self) -> int:
        """Return the number of classes."""
        return len(self.class_names())

    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of their labels."""
        return catalog.describe(catalog.find(self.name)).class_names

    def open(self, split: Split, data_dir: str | None = None) -> Records:
        """Return random access to a split, preparing it first where that needs no download.

        Args:
            split: "train", "validation" or "test", as this value defines them.
            data_dir: where prepared datasets are kept; None: TFDS_DATA_DIR, else ~/tensorflow_datasets.

        Raises:
            UsageError: unknown dataset or split, splits that share examples, a dataset that is not prepared or has no
                images of one size with class labels, or a folder that cannot be written.
        """
        if split not in get_args(Split):
            raise UsageError(f'unknown split "{split}"{suggestion(split, get_args(Split))}')
        builder = catalog.prepared(self.name, data_dir)
        carved = self.validation is None and "validation" not in builder.info.splits
        train = self.train or "train"
        expressions = {
            "train": train,
            "validation": train if carved else self.validation or "validation",
            "test": self.test or "test",
        }
        opened = {name: catalog.records(builder, expression) for name, expression in expressions.items()}
        for one, other in itertools.combinations(expressions, 2):
            carves = carved and (one, other) == ("train", "validation")  # cut from each other below
            if not carves and (n := catalog.shared(builder, expressions[one], expressions[other])):
                raise UsageError(
                    f'data.{one} "{expressions[one]}" and data.{other} "{expressions[other]}" share {n} examples '
                    f'of "{self.name}"; choose splits that do not'
                )
        records = opened[split]
        if carved and split != "test":
            cut = len(records) - len(records) // 10
            records = records.part(0, cut) if split == "train" else records.part(cut, len(records))
        if not len(records):
            raise UsageError(f'the {split} split of "{self.name}" has no examples')
        return records

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
