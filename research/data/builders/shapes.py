"""A TFDS builder for shapes in colour, drawn by NumPy alone. Imported only when a dataset is used."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import tensorflow_datasets as tfds

from research.data.builders.installed import digest
from research.data.builders.local import LocalBuilder, LocalInfo

SIDE = 32
SIZES = {"train": 4_000, "validation": 500, "test": 500}
RADII = 6.0, 13.0  # pixels from the middle of a shape to the circle around it
GRADIENT = 48  # most by which a channel of the background changes from one side to the other
CONTRAST = 110  # least distance of the colour of a shape from both ends of its background
NOISE = 24  # most by which a pixel differs from the colour below it
TIPS = ((0.0, 1.0), (0.95106, 0.30902), (0.58779, -0.80902), (-0.58779, -0.80902), (-0.95106, 0.30902))

Inside = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _disc(u: np.ndarray, v: np.ndarray, radius: float) -> np.ndarray:
    """Return which points lie in a disc around the origin."""
    return u * u + v * v <= radius * radius


def _box(u: np.ndarray, v: np.ndarray, width: float, height: float) -> np.ndarray:
    """Return which points lie in a rectangle around the origin, of half this width and height."""
    return (np.abs(u) <= width) & (np.abs(v) <= height)


def _star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Return which points lie in a pentagram: within four of its five lines at least."""
    return np.sum([u * x + v * y <= 0.309 for x, y in TIPS], axis=0) >= 4


# Which points (u, v) of the unit disc a shape covers, before it is turned.
SHAPES: dict[str, Inside] = {
    "bars": lambda u, v: _box(u, v, 0.7, 0.7) & (np.abs(v) >= 0.25),
    "corner": lambda u, v: _box(u, v, 0.7, 0.7) & ((u <= -0.2) | (v >= 0.2)),
    "crescent": lambda u, v: _disc(u, v, 0.9) & ~_disc(u - 0.45, v, 0.7),
    "cross": lambda u, v: _box(u, v, 0.9, 0.25) | _box(u, v, 0.25, 0.9),
    "disc": lambda u, v: _disc(u, v, 0.8),
    "half disc": lambda u, v: _disc(u, v + 0.4, 0.9) & (v >= -0.4),
    "ring": lambda u, v: _disc(u, v, 0.9) & ~_disc(u, v, 0.5),
    "square": lambda u, v: _box(u, v, 0.7, 0.7),
    "star": _star,
    "triangle": lambda u, v: (v <= 0.5) & (1.732 * np.abs(u) <= v + 1),
}


class Drawn(NamedTuple):
    """Images uint8 [n, side, side, 3] and their classes uint8 [n]."""

    images: np.ndarray
    labels: np.ndarray


class ColouredShapes(LocalBuilder, skip_registration=True):  # type: ignore[call-arg]
    """5,000 colour images of 32 x 32 pixels, each with one of ten shapes: the schema of "cifar10", nothing to download.

    A shape has a random colour, size, place and rotation, on a background that changes linearly from one random colour
    to a similar one; every pixel has noise of its own. A shape stands out from its background and is never cut off.
    There are equally many of each class in each split.
    """

    name = "coloured_shapes"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Ten classes of 400, 50 and 50 images, drawn from a fixed seed."}

    def _info(self) -> Any:
        """Describe an image; draws none."""
        return LocalInfo(
            builder=self,
            description="Ten shapes in random colours, sizes, places and rotations, 32 x 32 pixels, drawn by NumPy.",
            supervised_keys=("image", "label"),
            features=tfds.features.FeaturesDict(
                {
                    "id": tfds.features.Text(),
                    "image": tfds.features.Tensor(shape=(SIDE, SIDE, 3), dtype=np.uint8),
                    "label": tfds.features.ClassLabel(names=list(SHAPES)),
                }
            ),
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        """Draw each split from a seed of its own, and note what came out."""
        splits = {name: draw(size, np.random.default_rng([0, i])) for i, (name, size) in enumerate(SIZES.items())}
        drawn = digest(*(array for split in splits.values() for array in split))
        self.info.metadata.update(source=f"drawn by numpy {np.__version__}", sha256=drawn)
        return {name: self._generate_examples(name, split) for name, split in splits.items()}

    def _generate_examples(self, name: str, split: Drawn) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield numbered examples; TFDS orders them by a hash of the number, the same on every machine."""
        for index, (image, label) in enumerate(zip(split.images, split.labels.tolist(), strict=True)):
            yield index, {"id": f"{name}_{index:05}", "image": image, "label": label}


def draw(size: int, generator: np.random.Generator) -> Drawn:
    """Return `size` images with their classes in turn.

    Only sums, products, quotients and comparisons of random numbers decide a pixel, so that all machines agree on it.
    """
    labels = (np.arange(size) % len(SHAPES)).astype(np.uint8)
    radius = generator.uniform(*RADII, (size, 1, 1))
    y, x = (_position(radius, generator) - np.arange(SIDE).reshape(axis) for axis in ((1, -1, 1), (1, 1, -1)))
    cosine, sine = _rotation(generator.uniform(-1, 1, (2, size, 1, 1)))
    u, v = (cosine * x - sine * y) / radius, (sine * x + cosine * y) / radius  # [n, side, side]
    covered = np.zeros((size, SIDE, SIDE), bool)
    for label, inside in enumerate(SHAPES.values()):
        rows = labels == label
        covered[rows] = inside(u[rows], v[rows])
    colour, background = _colours(size, generator)
    images = np.where(covered[..., None], colour, background)
    images += generator.integers(-NOISE, NOISE + 1, images.shape)
    return Drawn(images.clip(0, 255).astype(np.uint8), labels)


def _position(radius: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return where along an axis the middle of each shape lies, so that all of it is within the image."""
    return radius + generator.random(radius.shape) * (SIDE - 1 - 2 * radius)


def _rotation(halves: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return cosine and sine of angles all around, from two numbers in [-1, 1) each.

    The first is the tangent of half the angle, which takes no trigonometry but leaves out the rear half; the sign of
    the second turns an angle there.
    """
    tangent, turn = halves
    sign = np.where(turn < 0, -1, 1)
    return sign * (1 - tangent**2) / (1 + tangent**2), sign * 2 * tangent / (1 + tangent**2)


def _colours(size: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the colour of each shape, [n, 1, 1, 3], and of each pixel of its background, [n, side, side, 3]."""
    one = generator.integers(256, size=(size, 1, 3))
    other = (one + generator.integers(-GRADIENT, GRADIENT + 1, one.shape)).clip(0, 255)
    proposed = generator.integers(256, size=(size, 32, 3))
    near = np.minimum(*(((proposed - end) ** 2).sum(axis=2) for end in (one, other))) < CONTRAST**2  # [n, 32]
    colour = proposed[np.arange(size), near.argmin(axis=1)]
    across, down = generator.uniform(-1, 1, (2, size, 1, 1))
    ramp = np.linspace(-0.5, 0.5, SIDE)
    place = 0.5 + (across * ramp[None, None] + down * ramp[None, :, None]) / 2  # [n, side, side], in [0, 1]
    one, other = one[:, None], other[:, None]
    background = (one + place[..., None] * (other - one)).astype(np.int64)
    return colour[:, None, None], background
