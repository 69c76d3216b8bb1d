"""A table that ships inside an installed package, read where it lies."""

import functools
import gzip

import numpy as np

NAME = "diabetes"

COLUMNS = ("age", "sex", "bmi", "pressure", "s1", "s2", "s3", "s4", "s5", "s6")
TARGET = "progression"
INPUTS = "364d6af10d06ac7ee663808f0facd92f57b939758169b67fb3e5c2b95521bbd5"
TARGETS = "64c6aa6f4027afaed70d85b069db7079ab90ff693fe67e65c9550c8454b8f2af"


def is_packaged(name: str) -> bool:
    """Return whether this is the name of a packaged table."""
    return name == NAME


# Small, and asked for by every split.
@functools.cache
def read() -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the columns of the table, each [442] float32, and where they come from.

    442 patients with diabetes: age, sex, body mass index, blood pressure and six measurements of their blood serum, and
    how the disease had progressed after a year. Efron, Hastie, Johnstone and Tibshirani, "Least angle regression"
    (2004).

    Raises:
        UsageError: scikit-learn does not ship the files, or others than those this table is made of.
    """
    from research.data.builders.installed import Installed  # with it come builders of datasets, slow to import

    parts, origin = [], dict[str, str]()
    for part, file, digest in (
        ("inputs", "datasets/data/diabetes_data_raw.csv.gz", INPUTS),
        ("target", "datasets/data/diabetes_target.csv.gz", TARGETS),
    ):
        installed = Installed("sklearn", "scikit-learn", file, "pip install scikit-learn", digest)
        content, source = installed.content()
        numbers = np.loadtxt(gzip.decompress(content).decode().splitlines(), dtype=np.float32, ndmin=2)
        installed.check(numbers)
        parts.append(numbers)
        origin |= {f"{part}_{key}": value for key, value in source.items()}
    values = np.concatenate(parts, axis=1)
    values.flags.writeable = False
    return dict(zip((*COLUMNS, TARGET), values.T, strict=True)), origin
