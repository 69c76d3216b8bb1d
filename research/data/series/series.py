"""Forecasting: the next points of a time series from those before."""

import dataclasses
import functools
import logging
from collections.abc import Set
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from research.data import files, splits
from research.data.dataset import Dataset
from research.data.pictures import draw_series
from research.data.schema import Presence, Real, Schema
from research.data.series import windows
from research.data.source import Batch
from research.data.splits import Split
from research.data.statistics import rounded
from research.data.storage import catalog
from research.data.storage.records import Records, read
from research.errors import UsageError
from research.fields import Positive, Size

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Series(Dataset):
    """A time series: every stretch of `horizon` points within a split, with the `window` of points before it.

    The splits follow each other in time. A window reaches back into what came before its split, which is known when the
    forecast is made, and never forward. Missing values are masked, never filled in.

    A forecast is level + scale * output. Without `difference`, level is `mean` and scale is `std`: outputs are
    standardised values. With it, level is the last known value plus `mean` for each step since then, and scale is
    `std`: the k-th output is the standardised change summed over the steps up to it, and an output of zero is a random
    walk with drift.
    """

    name: str = "sunspots"
    """TFDS dataset of points with "time" and "value", such as "sunspots" or "co2"; or the path of a .csv, .jsonl or
    .npz file, of which the first 70 % of the rows train, the next 10 % validate and the last 20 % test."""
    column: str = "value"
    """Column, or array [n] of an .npz file, to forecast; its "time", if it has one, labels pictures."""
    window: Size = 22
    """Points before the forecast that the model sees."""
    horizon: Size = 1
    """Points to forecast."""
    season: Size = 11
    """Points in a season, for the naive forecast that repeats the last one."""
    difference: bool = False
    """Model changes from one point to the next instead of values; `mean` and `std` are then those of the changes."""
    presence: bool = False
    """Give the model a second channel, 1 where a value is present and 0 where it is missing."""
    mean: float = 42.9
    """Subtracted from what the model sees, in the units of the series; best the mean of the training split."""
    std: Positive = 34.2
    """Divides what the model sees, in the units of the series; best the standard deviation of the training split."""

    def spec(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Return shape and type of the entries of one raw example, all in the units of the series."""
        shapes: dict[str, tuple[int, ...]] = {
            "history": (self.window + self.difference,),
            "target": (self.horizon,),
            "last": (),
            "age": (),
            "seasonal": (self.horizon,),
            "time": (self.horizon,),
        }
        return {name: jax.ShapeDtypeStruct(shape, np.float32) for name, shape in shapes.items()}

    def schema(self) -> Schema:
        """Return what the entries mean; all examples are stretches of one series."""
        return Schema(
            {
                "features": Real(1 + self.presence, "what came before, standardised"),
                "value": Real(self.horizon, "what comes next"),
                "present": Presence("value"),
                "level": Real(self.horizon, "what an output of zero forecasts"),
                "scale": Real(meaning="what an output of one adds to it"),
                "persistence": Real(self.horizon, "naive forecast by the last value"),
                "seasonal": Real(self.horizon, "naive forecast by the value a season before"),
                "time": Real(self.horizon, "when"),
            },
            "series",
        )

    def open(self, split: Split, data_dir: str | None = None) -> Records:
        """Return random access to the forecasts of a split, in order of time.

        The training split begins to forecast where its first window is full.

        Raises:
            UsageError: as `Dataset.source` and `files.numbers`; splits out of order, a gap without `presence`, a split
                or a history too short for the window, the horizon or the season.
        """
        points, history = self._points(data_dir), self.window + self.difference
        missing = int(np.isnan(points.value).sum())
        if missing and not self.presence:
            raise UsageError(f'{missing} values of "{self.name}" are missing: set data.presence')
        if self.season > len(points.spans["train"]):
            raise UsageError(
                f"data.season {self.season} is longer than the {len(points.spans['train'])} points of the training "
                f'split of "{self.name}"'
            )
        span = points.spans[split]
        starts = np.arange(max(span.start, history), span.stop - self.horizon + 1)
        if not len(starts):
            raise UsageError(
                f'the {split} split of "{self.name}" has {len(span)} points, too few for data.window {self.window} '
                f"and data.horizon {self.horizon}"
            )
        if np.isnan(points.value[: starts[0]]).all():
            raise UsageError(f'the first {starts[0]} values of "{self.name}" are all missing: set a longer data.window')
        if split == "train":
            self._compare_statistics(data_dir)
        return Records.of(windows.cut(points.time, points.value, starts, history, self.horizon, self.season))

    def preprocess(self, batch: Batch, key: jax.Array | None = None) -> Batch:
        """Return what a forecaster needs, float32 unless said; w is `window`, h is `horizon`.

        "features" [b, w, 1], or [b, w, 2] with `presence`; "value" [b, h], 0 where "present" [b, h] bool is False;
        "level" [b, h] and "scale" [b]; the naive forecasts "persistence", the last present value, and "seasonal"
        [b, h]; "time" [b, h]. Other entries pass through.
        """
        b, h = batch["target"].shape
        persistence = jnp.broadcast_to(batch["last"][:, None], (b, h))
        if self.difference:
            numbers = jnp.diff(batch["history"], axis=1)
            steps = batch["age"][:, None] + jnp.arange(1, h + 1, dtype=jnp.float32)[None]
            level = persistence + self.mean * steps
        else:
            numbers = batch["history"]
            level = jnp.full((b, h), self.mean, jnp.float32)
        known, present = ~jnp.isnan(numbers), ~jnp.isnan(batch["target"])
        channels = [jnp.where(known, (numbers - self.mean) / self.std, 0)]
        if self.presence:
            channels.append(known.astype(jnp.float32))
        return {
            **{name: entry for name, entry in batch.items() if name not in self.spec()},
            "features": jnp.stack(channels, axis=-1),  # [b, w, d]
            "value": jnp.where(present, batch["target"], 0),
            "present": present,
            "level": level,
            "scale": jnp.full(b, self.std, jnp.float32),
            "persistence": persistence,
            "seasonal": batch["seasonal"],
            "time": batch["time"],
        }

    def statistics(self, data_dir: str | None = None) -> tuple[float, float]:
        """Return mean and standard deviation of the training split, of its changes with `difference`."""
        points = self._points(data_dir)
        span = points.spans["train"]
        value = points.value[span.start : span.stop].astype(np.float64)
        if self.difference:
            value = np.diff(value)
        return float(np.nanmean(value)), float(np.nanstd(value))

    def digest(self) -> str:
        """Return the digest of the file; "" of a dataset."""
        return files.digest(self.name) if files.is_file(self.name) else ""

    def found(self, given: Set[str] = frozenset(), data_dir: str | None = None) -> dict[str, Any]:
        """Return the column where there is one besides the time, presence, mean and std, and the digest."""
        column = self.column
        if files.is_file(self.name) and "column" not in given:
            others = [name for name in files.names(self.name) if name != "time"]
            column = others[0] if len(others) == 1 else column
        series = dataclasses.replace(self, column=column, sha256="")
        mean, std = rounded([series.statistics(data_dir)])
        return {
            "column": column,
            "presence": self.presence or bool(np.isnan(series._points(data_dir).value).any()),
            "mean": mean[0],
            "std": std[0],
            "sha256": self.digest(),
        }

    def preview(self, folder: Path, data_dir: str | None = None) -> dict[str, str]:
        """Draw `preview.png`: the series and its splits."""
        points = self._points(data_dir)
        draw_series(points.time, points.value, points.spans, folder / "preview.png")
        return {"preview.png": "the series as it was read, and its splits"}

    def files(self, data_dir: str | None = None) -> dict[str, str]:
        """Return `dataset.json`: where the series came from."""
        return files.describe(self.name) if files.is_file(self.name) else super().files(data_dir)

    def _compare_statistics(self, data_dir: str | None) -> None:
        """Warn where mean and std are far from those of the training split, as those of another series would be."""
        mean, std = self.statistics(data_dir)
        if std and (abs(mean - self.mean) > std or not std / 3 < self.std < 3 * std):
            log.warning(
                "the training split of %s has a mean of %.4g and a standard deviation of %.4g, but data.mean is %g and "
                "data.std %g",
                self.name,
                mean,
                std,
                self.mean,
                self.std,
            )

    def _points(self, data_dir: str | None) -> "Points":
        """Return the series, from its file or dataset."""
        self.check_digest()
        if files.is_file(self.name):
            files.check_unset(self)
            return from_file(self.name, self.column)
        dataset = Dataset(self.name, self.train, self.validation, self.test)
        return from_dataset(dataset, catalog.data_folder(data_dir))


class Points(NamedTuple):
    """A whole series: time and value [n] float32, NaN where missing, and the rows of each split."""

    time: np.ndarray
    value: np.ndarray
    spans: dict[Split, range]


def from_file(path: str, column: str) -> Points:
    """Return a series in a file.

    Raises:
        UsageError: as `files.numbers`; the time does not ascend, or the array has more than one axis.
    """
    value = files.numbers(path, column)
    try:
        time = files.exact(path, "time") if "time" in files.names(path) else np.arange(len(value))
    except UsageError as error:
        raise UsageError(f'{error}; "time" is a number such as a year: convert the column, or rename it') from error
    for name, array in ((column, value), ("time", time)):
        if array.shape != (value.size,):
            raise UsageError(f'{path}: the array "{name}" is {array.shape}; a series has one number a point')
    time = time.astype(np.float32, copy=False)
    if len(back := np.flatnonzero(~(np.diff(time) > 0))):
        before, after = time[back[0]], time[back[0] + 1]
        raise UsageError(
            f'{files.place(path, back[0] + 1)}: "time" must ascend from each point to the next, but in float32, which '
            f"has seven digits, goes from {before:.9g} to {after:.9g}"
        )
    return Points(time, value, splits.contiguous(len(value)))


# A sweep opens the same few series for every run, and its points are few and slow to decode.
@functools.lru_cache(maxsize=8)
def from_dataset(dataset: Dataset, folder: str) -> Points:
    """Return a series among the prepared datasets in `folder`.

    Raises:
        UsageError: as `Dataset.source`; examples are not points in order of time, or the splits are not stretches of it
            that follow each other.
    """
    sources = {split: dataset.source(split, folder) for split in splits.SHARES}
    builder = catalog.prepared(dataset.name, folder)
    if set(builder.info.features) != {"time", "value"}:
        raise UsageError(
            f'dataset "{dataset.name}" is no series of "time" and "value"; its examples have: '
            f"{', '.join(builder.info.features)}"
        )
    whole = catalog.source(builder, "train+validation+test")
    examples = read(whole, range(len(whole)))
    time, value = (np.array([example[name] for example in examples], np.float32) for name in ("time", "value"))
    spans: dict[Split, range] = {}
    stop, ascending = 0, bool((np.diff(time) > 0).all())
    for split, source in sources.items():
        rows = np.searchsorted(time, [example["time"] for example in read(source, range(len(source)))])
        if not ascending or (np.diff(rows) != 1).any() or rows[0] < stop:
            raise UsageError(
                f'the splits of the series "{dataset.name}" must be whole stretches of time, first train, then '
                "validation, then test"
            )
        stop = int(rows[-1]) + 1
        spans[split] = range(int(rows[0]), stop)
    return Points(time, value, spans)
