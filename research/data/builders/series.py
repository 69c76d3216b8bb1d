"""TFDS builders for time series, one a dataset, whose examples are the points in order."""

import csv
import datetime
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import tensorflow_datasets as tfds

from research.data import splits
from research.data.builders.installed import Installed
from research.data.builders.local import LocalBuilder, LocalInfo

_INSTALL = 'pip install "ceteris-research[series]"'


class _Series(LocalBuilder, skip_registration=True):  # type: ignore[call-arg]
    """What the builders share: a point is {"time": years, "value": NaN where missing}, a split is a stretch of time."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "The first 70 % of the points train, the next 10 % validate, the last 20 % test."}
    file: ClassVar[Installed]
    description: ClassVar[str]

    def _info(self) -> Any:
        """Describe a point; needs neither the package nor its file."""
        number = tfds.features.Scalar(np.float32)
        return LocalInfo(
            builder=self,
            description=self.description,
            features=tfds.features.FeaturesDict({"time": number, "value": number}),
            disable_shuffling=True,  # else TFDS orders points by a hash of their number
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict[str, Any]]]]:
        """Cut the series in order."""
        text, origin = self.file.read()
        rows = list(csv.reader(text.splitlines()))[1:]
        time = np.array([self._years(row[0]) for row in rows], np.float32)
        value = np.array([row[1] or "nan" for row in rows], np.float32)
        self.file.check(time, value)
        self.info.metadata.update(origin, missing=int(np.isnan(value).sum()))
        return {name: self._generate_examples(time, value, span) for name, span in splits.contiguous(len(rows)).items()}

    def _generate_examples(
        self, time: np.ndarray, value: np.ndarray, span: range
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Yield numbered points in order."""
        for index in span:
            yield index, {"time": time[index], "value": value[index]}

    def _years(self, cell: str) -> float:
        """Return the time that the first column stands for, in years."""
        return float(cell)


class Sunspots(_Series, skip_registration=True):  # type: ignore[call-arg]
    """Yearly mean sunspot numbers, 1700 to 2008: 309 points, none missing, a cycle of about eleven years."""

    name = "sunspots"
    description = "Yearly sunspot numbers from 1700 to 2008, as shipped by statsmodels."
    file = Installed(
        package="statsmodels",
        distribution="statsmodels",
        file="datasets/sunspots/sunspots.csv",
        install=_INSTALL,
        digest="98c2c93f648e17de6c76c804bb19836423e29107af3e38128c5dcbb21280dd82",
    )


class Co2(_Series, skip_registration=True):  # type: ignore[call-arg]
    """Weekly carbon dioxide at Mauna Loa in ppmv (Keeling & Whorf 2004), 1958 to 2001: 2,284 points, 59 missing."""

    name = "co2"
    description = "Weekly carbon dioxide over Mauna Loa from March 1958 to December 2001, as shipped by statsmodels."
    file = Installed(
        package="statsmodels",
        distribution="statsmodels",
        file="datasets/co2/co2.csv",
        install=_INSTALL,
        digest="178d5f1afc42d8d9ac4f5ed141b0881f7505297855b11fd285fd38c257fc12a9",
    )

    def _years(self, cell: str) -> float:
        """Turn a date such as 19580329 into a year and its elapsed part."""
        date = datetime.datetime.strptime(cell, "%Y%m%d")
        first, last = datetime.datetime(date.year, 1, 1), datetime.datetime(date.year + 1, 1, 1)
        return date.year + (date - first) / (last - first)
