"""Images of one size and what is told from them: any such TFDS dataset by name, or a folder of one's own."""

import dataclasses
from collections.abc import Callable, Set
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np

from research.data.dataset import Dataset
from research.data.files import check_unset
from research.data.images import image_folders
from research.data.images.contact_sheet import draw_contact_sheet
from research.data.images.entries import Entries, Entry, describe
from research.data.images.mixing import mix
from research.data.images.randaugment import STRONGEST, randaugment
from research.data.schema import Categorical, Labels, Schema
from research.data.source import Batch
from research.data.splits import Split
from research.data.statistics import rounded
from research.data.storage import catalog
from research.data.storage.folders import is_folder
from research.data.storage.records import Records, Source
from research.data.transforms import add_noise, random_cutout, random_flip, random_shift, standardize
from research.fields import Positive, Range, Size, Switch, is_static_zero

# Folded into the key of a step. From 3 on: `split` in three gives the very keys that folding 0 to 2 in would.
RANDAUGMENT, CUTOUT, MIXING = range(3, 6)
AUGMENTED = 7  # columns of the contact sheet besides the first
LARGEST = 32  # side that images of a folder are scaled to at most where none is given: minutes of training on a CPU
SAMPLE = 2048  # images that mean and deviation are computed from, at most, as they have to be decoded


@dataclasses.dataclass(frozen=True)
class Images(Dataset):
    """Images and what is told from them, standardised, with optional augmentation of training batches.

    An example is {"image": uint8 [h, w, c]} and, as the dataset has them, {"label": int32 []}, or else
    {"labels": int32 [k]}, and {"target": float32 [k], "present": bool [k]}: see `image_entries.describe`.

    A `name` that begins with "/", "./", "../" or "~" is a folder with a folder of images for each class, or with such a
    folder for each split: see `image_folders.source`.
    """

    name: str = "digits"
    """TFDS dataset, such as "mnist", "cifar10" or "emnist/letters", or a folder, "./photos"; "digits" needs nothing."""
    size: Size | None = None
    """Side in pixels that the centre square of each image is scaled to; None keeps images, all of one size."""
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
    randaugment_layers: Annotated[int, Range(0)] = 0
    """Augmentation: operations of RandAugment applied to each image one after the other; 0 is off."""
    randaugment_magnitude: Annotated[float, Range(0.0, STRONGEST)] = 9.0
    """Strength of RandAugment; 10 is the greatest."""
    cutout: Annotated[int, "switch", Range(0, 2**31 - 1)] = 0
    """Augmentation: side of a square blanked at a random place, in pixels; 0 is off."""
    mixup: Switch = 0.0
    """Augmentation: alpha of the Beta(alpha, alpha) that the shares of two blended images are drawn from; 0 is off."""
    cutmix: Switch = 0.0
    """Augmentation: the same for a box of one image pasted into another; with mixup, each batch takes one of them."""

    def spec(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Return shape and type of each entry of one raw example, without prepared data or network."""
        return {name: entry.spec for name, entry in self._entries().items()}

    def schema(self) -> Schema:
        """Return what the entries mean; a unit is known to repeat in some of the packaged datasets alone."""
        meanings = {name: entry.meaning for name, entry in self._entries().items()}
        return Schema(meanings, None if is_folder(self.name) else catalog.unit(self.name))

    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes or labels, in their order; none where there are numbers alone."""
        meanings = (entry.meaning for entry in self._entries().values())
        return next((meaning.names for meaning in meanings if isinstance(meaning, Categorical | Labels)), ())

    def source(self, split: Split, data_dir: str | None = None) -> Source:
        """Return random access to the examples of a split as they are. Raises as `Dataset` and `image_folders`."""
        self.check_digest()
        if is_folder(self.name):
            return image_folders.source(self.name, split, uniform=self.size is None)
        return super().source(split, data_dir)

    def open(self, split: Split, data_dir: str | None = None) -> Records:
        """Return random access to a split.

        Raises:
            UsageError: as `source`; the dataset has no such images, or they differ in size and `size` is None.
        """
        entries = self._entries()
        return Records(Entries(self.source(split, data_dir), entries), self.spec())

    def digest(self) -> str:
        """Return the digest of the folder; "" of a dataset."""
        return image_folders.digest(self.name) if is_folder(self.name) else ""

    def found(self, given: Set[str] = frozenset(), data_dir: str | None = None) -> dict[str, Any]:
        """Return the size where images of a folder are large or differ in it, mean and std, and the digest."""
        size = self.size
        if is_folder(self.name) and size is None and "size" not in given:
            size = image_folders.side(self.name, LARGEST)
        images = dataclasses.replace(self, size=size, sha256="")
        mean, std = rounded(images.statistics(data_dir))
        return {"size": size, "mean": mean, "std": std, "sha256": self.digest()}

    def statistics(self, data_dir: str | None = None) -> list[tuple[float, float]]:
        """Return mean and standard deviation of each channel, pixels being in [0, 1].

        They are those of the training split, or of 2,048 of its images at equal distances.
        """
        records = self.open("train", data_dir)
        rows = np.arange(0, len(records), -(-len(records) // SAMPLE))
        values = np.arange(256) / 255
        counts = np.zeros((self.spec()["image"].shape[-1], 256), np.int64)  # exact, so that no order matters
        for some in np.array_split(rows, -(-len(rows) // 64)):
            pixels = records[some]["image"]
            for channel, count in enumerate(counts):
                count += np.bincount(pixels[..., channel].ravel(), minlength=256)
        shares = counts / counts.sum(axis=1, keepdims=True)
        mean = shares @ values
        std = np.sqrt((shares * (values - mean[:, None]) ** 2).sum(axis=1))
        return list(zip(mean.tolist(), std.tolist(), strict=True))

    def files(self, data_dir: str | None = None) -> dict[str, str]:
        """Return `dataset.json`."""
        self.check_digest()
        return image_folders.record(self.name) if is_folder(self.name) else super().files(data_dir)

    def _entries(self) -> dict[str, Entry]:
        """Return what an example holds, by name."""
        if not is_folder(self.name):
            return describe(catalog.find(self.name), self.size)
        check_unset(self, "folder")
        return image_folders.describe(self.name, self.size)

    def preprocess(self, batch: Batch, key: jax.Array | None = None) -> Batch:
        """Return the batch with "image" standardised, float32 [b, h, w, c]; with a `key`, augmented.

        Other entries pass through; mixup and CutMix add "other" and "share", as `mix` says. Augmentation is part of the
        compiled step, so its draws are a function of the key.
        """
        images = batch["image"]
        if key is None:
            return {**batch, "image": standardize(images, self.mean, self.std)}
        # Each augmentation has a key of its own, so that switching one leaves the draws of the others as they were.
        shift_key, flip_key, noise_key = jax.random.split(key, 3)
        if self.shift:
            images = random_shift(shift_key, images, self.shift)
        if self.flip:
            images = random_flip(flip_key, images)
        if self.randaugment_layers:
            augment_key = jax.random.fold_in(key, RANDAUGMENT)
            images = randaugment(augment_key, images, self.randaugment_layers, self.randaugment_magnitude)
        images = standardize(images, self.mean, self.std)
        if not is_static_zero(self.noise):
            images = add_noise(noise_key, images, self.noise)
        if not is_static_zero(self.cutout):
            images = random_cutout(jax.random.fold_in(key, CUTOUT), images, self.cutout)
        batch = {**batch, "image": images}
        if is_static_zero(self.mixup) and is_static_zero(self.cutmix):
            return batch
        return mix(jax.random.fold_in(key, MIXING), batch, self.mixup, self.cutmix)

    def illustrate(self, batch: Batch, augmented: Callable[[int], Batch], folder: Path) -> dict[str, str]:
        """Draw a contact sheet of the first examples, where there is any augmentation: each as it is and at 7 steps."""
        switches = (self.shift, self.flip, self.noise, self.randaugment_layers, self.cutout, self.mixup, self.cutmix)
        if all(is_static_zero(switch) for switch in switches):
            return {}
        steps = {f"step {step}": augmented(step) for step in range(AUGMENTED)}
        columns = {"as it is": self.preprocess(batch), **steps}
        draw_contact_sheet(columns, self.mean, self.std, self.class_names(), folder / "augmentation.png")
        return {"augmentation.png": f"training examples, and what the first {AUGMENTED} steps make of them"}
