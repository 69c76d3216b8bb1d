"""Tables: numbers, labels or a class to be told from the numbers in the other columns of a file."""

import dataclasses
import functools
import json
import logging
from collections.abc import Callable, Iterator, Set
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from research.data import files, splits
from research.data.files import Version
from research.data.pictures import draw_histograms
from research.data.schema import Categorical, Labels, Meaning, Presence, Real, Schema
from research.data.source import Batch, Data
from research.data.splits import Split
from research.data.statistics import rounded
from research.data.storage import digests, packaged
from research.data.storage.duplicates import met_in_training
from research.data.storage.records import Arrays, Records
from research.data.tables.classes import are_classes, classes
from research.errors import UsageError, shortened
from research.fields import Positive, Size

log = logging.getLogger(__name__)

SHOWN = 12  # columns in a preview

_NUMBERS = 2**18  # computed in float64 at a time, so that no second copy of a table exists


@dataclasses.dataclass(frozen=True)
class Table(Data):
    """The rows of a .csv, .jsonl or .npz file, 70 % to train, 10 % to validate, 20 % to test, shuffled by a fixed seed.

    With kind "classes", each class is split so. Inputs are standardised by the mean and standard deviation of each
    column over the training split, when a split is opened: the columns of a file may be many, and none of these numbers
    is anybody's choice. They are kept beside a run in `columns.json`. Targets stay in their own units; `level` and
    `scale` say what outputs of a model are added to and multiplied by.
    """

    name: str
    """Path of a .csv file, whose first line names the columns, of a .jsonl file, each line of which is an object that
    names them, or of an .npz file with "features" [n, d]; or "diabetes", 442 patients, which needs no file."""
    features: Size
    """Number of inputs: all columns of a .csv or .jsonl file but the targets."""
    kind: Literal["regression", "labels", "classes"] = "regression"
    """What the targets are: numbers; labels 0 or 1; or one class, a whole number from 0 or one of `classes`."""
    target: tuple[str, ...] = ("target",)
    """Columns, or arrays [n] or [n, k] of the .npz file, to be told from the others."""
    outputs: Size = 1
    """How many numbers or labels there are, or how many classes."""
    presence: bool = False
    """Add a column to each input, 1 where it is present and 0 where it is missing, and then 0 itself."""
    classes: tuple[str, ...] = ()
    """What the cells of a class say, in the order of the classes; without any they are whole numbers."""
    level: tuple[float, ...] = ()
    """What an output of zero estimates, best the mean of each target; without any it is zero."""
    scale: tuple[Positive, ...] = ()
    """What an output of one adds to that, best the standard deviation of each target; without any it is one."""
    sha256: str = dataclasses.field(default="", kw_only=True)
    """Digest of the file that is read, as `found` gives it: where it is set, anything else is refused."""

    def spec(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Return shape and type of the entries of one example."""
        spec = {"features": jax.ShapeDtypeStruct((self.features * (1 + self.presence),), np.float32)}
        match self.kind:
            case "regression":
                spec["target"] = jax.ShapeDtypeStruct((self.outputs,), np.float32)
                spec["present"] = jax.ShapeDtypeStruct((self.outputs,), np.bool_)
            case "labels":
                spec["labels"] = jax.ShapeDtypeStruct((self.outputs,), np.int32)
            case "classes":
                spec["label"] = jax.ShapeDtypeStruct((), np.int32)
        return spec

    def schema(self) -> Schema:
        """Return what the entries mean."""
        entries: dict[str, Meaning] = {"features": Real(self.features * (1 + self.presence), "inputs, standardised")}
        match self.kind:
            case "regression":
                entries |= {"target": Real(self.outputs), "present": Presence("target")}
                if self.level:
                    entries["level"] = Real(self.outputs, "what an output of zero estimates")
                if self.scale:
                    entries["scale"] = Real(self.outputs, "what an output of one adds to it")
            case "labels":
                entries["labels"] = Labels(self.outputs)
            case "classes":
                entries["label"] = Categorical(self.outputs, self.classes)
        return Schema(entries)

    def open(self, split: Split, data_dir: str | None = None) -> Records:
        """Return random access to a split: what `preprocess` returns.

        Raises:
            UsageError: as `files.numbers`; another number of columns than this value says, targets that are not what
                `kind` says, missing inputs without `presence`, or inputs of which training sees no value.
        """
        fit = _fit(self, self._version())
        columns, target, rows = self._read()
        kept = rows[split]
        if not len(kept):
            raise UsageError(f'the {split} split of "{self.name}" has no examples')
        n, d = len(kept), self.features
        features = np.empty((n, d * (1 + self.presence)), np.float32)
        for some in _stretches(n, d):
            scaled = (columns.values[kept[some]] - fit.mean) / fit.std
            known = ~np.isnan(scaled)
            features[some, :d] = np.where(known, scaled, 0)
            if self.presence:
                features[some, d:] = known
        return Records.of({"features": features, **self._targets(target[kept])})

    def preprocess(self, batch: Batch, key: jax.Array | None = None) -> Batch:
        """Return the batch as it is, and beside targets their `level` and `scale`, float32 [b, k], where those are set.

        "features" float32 [b, d], or [b, 2 d] with `presence`, the indicators last. Then "target" float32 [b, k], 0
        where "present" bool [b, k] is False; or "labels" int32 [b, k], -1 where missing; or "label" int32 [b].
        """
        if self.kind != "regression":
            return batch
        beside = {}
        for name, values in (("level", self.level), ("scale", self.scale)):
            if values and len(values) != self.outputs:
                raise UsageError(f"data.{name} has {len(values)} values for {self.outputs} targets: give one for each")
            if values:
                row = jnp.stack([jnp.asarray(value, jnp.float32) for value in values])
                beside[name] = jnp.broadcast_to(row, batch["target"].shape)
        return {**batch, **beside}

    def digest(self) -> str:
        """Return the digest of the file; "" of a packaged table."""
        return "" if packaged.is_packaged(self.name) else files.digest(self.name)

    def found(self, given: Set[str] = frozenset(), data_dir: str | None = None) -> dict[str, Any]:
        """Return how many inputs there are, whether some are missing, kind and size of the target, and the digest.

        One column of at most 20 different whole numbers, or of words, is taken for a class unless the kind is given.
        """
        columns = inputs(self.name, self.target)
        found: dict[str, Any] = {
            "features": columns.values.shape[1],
            "presence": self.presence or bool(np.isnan(columns.values).any()),
            "sha256": self.digest(),
        }
        kind = self.kind
        if "kind" not in given:
            one = len(self.target) == 1
            kind = "classes" if one and are_classes(self.name, self.target[0]) else "regression"
        if kind == "classes":
            words, count = classes(self.name, self._class_column())
            return {**found, "kind": kind, "classes": words, "outputs": count, "level": (), "scale": ()}
        found |= {"kind": kind, "classes": (), "outputs": targets(self.name, self.target).shape[1]}
        found |= {"level": (), "scale": ()}
        if kind == "regression":
            value = dataclasses.replace(self, **found | {"sha256": ""})
            _, target, rows = value._read()
            train = target[rows["train"]].astype(np.float64)
            found["level"], found["scale"] = rounded(zip(np.nanmean(train, 0), np.nanstd(train, 0), strict=True))
        return found

    def preview(self, folder: Path, data_dir: str | None = None) -> dict[str, str]:
        """Draw `preview.png`: the targets and the first inputs over the training split, in the units of the file."""
        columns, target, rows = self._read()
        train = rows["train"]
        k = target.shape[1]
        names = self.target if len(self.target) == k else tuple(map(str, range(k)))
        shown = {f"target {name}": target[train, i] for i, name in enumerate(names[:SHOWN])}
        for i, name in enumerate(columns.names[: SHOWN - len(shown)]):
            shown[name] = columns.values[train, i]
        draw_histograms(shown, self.classes, folder / "preview.png")
        return {"preview.png": "targets and the first inputs over the training split, as they were read"}

    def files(self, data_dir: str | None = None) -> dict[str, str]:
        """Return `dataset.json`, and `columns.json`: mean and standard deviation of each input."""
        fit = _fit(self, self._version())
        fitted = {name: {"mean": float(fit.mean[i]), "std": float(fit.std[i])} for i, name in enumerate(fit.names)}
        return {**files.describe(self.name), "columns.json": json.dumps(fitted, indent=2) + "\n"}

    def _version(self) -> Version:
        """Return what changes when the file does."""
        if not (files.is_file(self.name) or packaged.is_packaged(self.name)):
            raise UsageError(f'data.name "{self.name}" must be the path of a .csv, .jsonl or .npz file')
        digests.check(self.name, self.sha256, self.digest)
        return files.version(self.name)

    def _read(self) -> "tuple[Columns, np.ndarray, dict[Split, np.ndarray]]":
        """Return inputs, targets [n, k] and the rows of each split, checked against what this value says."""
        columns, target = inputs(self.name, self.target), self._target()
        n, d = columns.values.shape
        if len(target) != n:
            raise UsageError(f"{self.name} has {n} rows of features and {len(target)} of targets")
        if d != self.features:
            raise UsageError(f'"{self.name}" has {d} inputs: set data.features to {d}')
        if not self.presence and np.isnan(columns.values).any():
            row, column = np.argwhere(np.isnan(columns.values))[0]
            raise UsageError(
                f'{files.place(self.name, row)}, column "{columns.names[column]}": a value is missing: set '
                "data.presence"
            )
        self._check(target)
        strata = target[:, 0] if self.kind == "classes" else np.zeros(n)
        return columns, target, splits.stratified(strata, splits.SHARES)

    def _target(self) -> np.ndarray:
        """Return the targets [n, k], of which words are numbered."""
        if not (self.classes and self.kind == "classes"):
            return targets(self.name, self.target)
        words = files.words(self.name, column := self._class_column())
        numbers = {word: float(index) for index, word in enumerate(self.classes)}
        if len(wrong := [row for row, word in enumerate(words) if word not in numbers]):
            raise UsageError(
                f'{files.place(self.name, wrong[0])}, column "{column}": "{words[wrong[0]]}" is none of the classes '
                f"{shortened(self.classes)}; correct it, or add it to data.classes and train anew"
            )
        return np.array([[numbers[word]] for word in words], np.float32)

    def _class_column(self) -> str:
        """Return the only target."""
        if len(self.target) != 1:
            raise UsageError(f"data.target names {len(self.target)} columns; a class is in one")
        return self.target[0]

    def _check(self, target: np.ndarray) -> None:
        """Raise unless the targets [n, k] are of this kind, and as many as this value says."""
        k = target.shape[1]
        if self.kind == "classes" and k != 1:
            raise UsageError(f"data.target names {k} columns; a class is in one")
        if self.kind != "classes" and k != self.outputs:
            raise UsageError(f'"{self.name}" has {k} columns of targets: set data.outputs to {k}')
        if self.kind == "regression":
            return
        choices = np.arange(2 if self.kind == "labels" else self.outputs)
        allowed = np.isin(target, choices) | (np.isnan(target) & (self.kind == "labels"))
        if len(wrong := np.flatnonzero(~allowed.all(axis=1))):
            meant = "0, 1 or missing; correct it"
            if self.kind == "classes":
                meant = f"a whole number from 0 to {self.outputs - 1}; correct it, or set data.outputs and train anew"
            shown = ", ".join(f"{number:g}" for number in target[wrong[0]])
            raise UsageError(f"{files.place(self.name, wrong[0])}: the target is {shown}; it must be {meant}")

    def _targets(self, target: np.ndarray) -> Arrays:
        """Return the entries that hold the targets [n, k]."""
        present = ~np.isnan(target)
        match self.kind:
            case "regression":
                return {"target": np.where(present, target, 0), "present": present}
            case "labels":
                return {"labels": np.where(present, target, -1).astype(np.int32)}
            case "classes":
                return {"label": target[:, 0].astype(np.int32)}


class Columns(NamedTuple):
    """The inputs of a file [n, d], NaN where missing, and their names."""

    values: np.ndarray
    names: tuple[str, ...]


class Fit(NamedTuple):
    """Mean and standard deviation [d] of each input over the training split, 1 for one that never changes."""

    names: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray


# Small, and asked for by every split and every trial of a study.
@functools.lru_cache(maxsize=32)
def _fit(table: Table, version: Version) -> Fit:
    """Return what inputs are standardised by. Raises `UsageError` as `Table.open`."""
    columns, target, rows = table._read()
    for split, copies in met_in_training((columns.values, target), rows).items():
        if copies:
            log.warning("%d of %d %s rows of %s are in train too", copies, len(rows[split]), split, table.name)
    training = rows["train"]
    count = _total(columns.values, training, lambda numbers: (~np.isnan(numbers)).astype(np.intp))
    if len(empty := np.flatnonzero(count == 0)):
        raise UsageError(
            f'"{table.name}" has no value of "{columns.names[empty[0]]}" in its training split; leave that out'
        )
    mean = _total(columns.values, training, lambda numbers: np.nan_to_num(numbers, copy=False)) / count
    squares = _total(columns.values, training, lambda numbers: np.nan_to_num(numbers - mean, copy=False) ** 2)
    std = np.sqrt(squares / count)
    return Fit(columns.names, mean, np.where(std > 0, std, 1))


def _total(values: np.ndarray, rows: np.ndarray, of: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return the sum over rows of what `of` makes of values [n, d], in float64: [d].

    It is that of NumPy over all at once, to the last bit: row is added to row, but of a single column.
    """
    total = None
    for some in _stretches(len(rows), values.shape[1]) if values.shape[1] > 1 else [slice(None)]:
        part = of(values[rows[some]].astype(np.float64))
        total = part.sum(axis=0) if total is None else np.concatenate([total[None], part]).sum(axis=0)
    assert total is not None
    return total


def _stretches(n: int, d: int) -> Iterator[slice]:
    """Yield stretches of `n` rows of `d` numbers, few enough to be computed at a time."""
    step = max(1, _NUMBERS // d)
    return (slice(start, start + step) for start in range(0, n, step))


def inputs(path: str, target: tuple[str, ...]) -> Columns:
    """Return the "features" of an NPZ file, or the columns of another file apart from its targets.

    Raises:
        UsageError: as `files.exact`; there are none, or a target is not there.
    """
    files.check_names(path, target, "set data.target to what is to be told from the others")
    if files.has_columns(path):
        names = tuple(name for name in files.names(path) if name not in target)
        if not names:
            raise UsageError(f"{path} has no column besides the targets")
        if texts := files.texts(path, names):
            quoted = ", ".join(f'"{name}"' for name in texts)
            raise UsageError(
                f"{path}: text is no input, and these columns hold nothing else: {quoted}; leave them out of the file, "
                "or write a number for each word"
            )
        return Columns(np.stack(files.columns(path, names), axis=1), names)
    values = files.exact(path, "features")
    if values.ndim != 2 or not values.size:
        raise UsageError(f'{path}: the array "features" is {values.shape}; it must be [n, d] and not empty')
    return Columns(values, tuple(f"features {i}" for i in range(values.shape[1])))


def targets(path: str, names: tuple[str, ...]) -> np.ndarray:
    """Return the targets of a file side by side, float32 [n, k], NaN where missing.

    Raises:
        UsageError: as `files.numbers`; there are none, or one is not of a row each.
    """
    if not names:
        raise UsageError("data.target is empty: name what is to be told")
    parts = [files.numbers(path, name) for name in names]
    for name, part in zip(names, parts, strict=True):
        if part.ndim not in (1, 2) or len(part) != len(parts[0]):
            raise UsageError(f'{path}: the array "{name}" is {part.shape}; it must be [n] or [n, k]')
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
