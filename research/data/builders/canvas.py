"""A TFDS builder for several digits on one canvas: which digits are there, and what is their sum?

Imported only when a dataset is used.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from research.data.builders import packaged
from research.data.builders.local import LocalBuilder, LocalInfo
from research.data.splits import stratified

SIDE = 2 * packaged.MNIST5K.side
NEARER = 4  # pixels that a digit is moved towards the middle at most
CANVASES = {"train": 6_000, "validation": 1_000, "test": 1_000}


class DigitCanvas(LocalBuilder, skip_registration=True):  # type: ignore[call-arg]
    """8,000 canvases of 56 x 56 pixels with one to four digits of "mnist5k", at most one in each quarter.

    "labels" lists the digits that occur, each once; "target" [1] is the sum of all. The canvases of a split are made of
    the digits of that split of "mnist5k", so that no two splits share a digit.
    """

    name = "digit_canvas"
    unit = "digit"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Splits share no digit, no canvas occurs twice."}

    def _info(self) -> Any:
        """Describe a canvas; needs neither the package nor its file."""
        return LocalInfo(
            builder=self,
            description="One to four MNIST digits on a canvas of 56 x 56 pixels; which occur, and their sum.",
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Tensor(shape=(SIDE, SIDE, 1), dtype=np.uint8),
                    "labels": tfds.features.Sequence(tfds.features.ClassLabel(names=list("0123456789"))),
                    "target": tfds.features.Tensor(shape=(1,), dtype=np.float32),
                }
            ),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        """Split the digits, as for "mnist5k"."""
        images, labels, origin = packaged.MNIST5K.read()
        kept = packaged.distinct(images)
        self.info.metadata.update(origin)
        images, labels = images[kept], labels[kept]
        return {
            name: self._generate_examples(images[indices], labels[indices], name)
            for name, indices in stratified(labels, packaged.MNIST5K.shares).items()
        }

    def _generate_examples(
        self, digits: np.ndarray, labels: np.ndarray, split: str
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield numbered canvases; TFDS orders them by a hash of the number, the same on every machine."""
        place, number = list(CANVASES).index(split), 0
        different: dict[bytes, dict[str, Any]] = {}
        while len(different) < CANVASES[split]:
            canvas = draw(digits, labels, np.random.default_rng([place, number]))
            different.setdefault(canvas["image"].tobytes(), canvas)
            number += 1
        yield from enumerate(different.values())


def draw(digits: np.ndarray, labels: np.ndarray, generator: np.random.Generator) -> dict[str, Any]:
    """Return one canvas of random digits [n, side, side, 1] and their labels [n].

    A digit stands in a quarter of its own, moved by 0 to `NEARER` pixels towards the middle along either axis, so that
    nothing of it is cut off; where two overlap, the brighter pixel is seen.
    """
    canvas = np.zeros((SIDE, SIDE, 1), np.uint8)
    side = digits.shape[1]
    quarters = generator.permutation(4)[: generator.integers(1, 5)]
    chosen = generator.integers(len(digits), size=len(quarters))
    for quarter, digit in zip(quarters.tolist(), digits[chosen], strict=True):
        moves = generator.integers(NEARER + 1, size=2)
        top, left = np.where([quarter // 2, quarter % 2], SIDE - side - moves, moves)
        place = canvas[top : top + side, left : left + side]
        np.maximum(place, digit, out=place)
    return {
        "image": canvas,
        "labels": np.unique(labels[chosen]).tolist(),
        "target": labels[chosen].sum(dtype=np.float32, keepdims=True),
    }
