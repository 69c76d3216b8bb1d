"""The run folder: which files it has, and who may use it."""

import contextlib
import dataclasses
import json
import logging
import math
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from research.errors import RunError, UnknownClassError, UsageError
from research.experiment import Experiment, classes, difference, explain, from_json, to_json
from research.fields import validate
from research.notebook import html_lines, html_table
from research.training.storage import sealed
from research.training.storage.environment import drift, explain_drift
from research.training.storage.files import partial_file, writing
from research.training.storage.lineage import Lineage
from research.training.storage.lock import Lock, held

log = logging.getLogger(__name__)

LARGE = 10_000
"""Numbers of a detail beyond which it gets a file of its own: every report reads result.json."""

LONGEST = 255
"""Bytes of a file's name, beyond which no common file system takes it."""


@dataclasses.dataclass(frozen=True)
class Result:
    """What a finished run came to: the content of result.json.

    `metrics` is {split: {name: value}}, `details` what a task keeps besides numbers, as `Folder.write_details` returns
    it, `seconds` the wall time by phase over all parts of the run, with what came to nothing as `lost`, `illustrations`
    the pictures and samples in the folder and what they show.
    """

    experiment: dict[str, Any]
    fingerprint: str
    seed: int
    steps: int
    metrics: dict[str, dict[str, float]]
    details: dict[str, dict[str, Any]]
    seconds: dict[str, float]
    parameters: int
    device: str
    versions: dict[str, str]
    commit: str | None
    illustrations: dict[str, str] = dataclasses.field(default_factory=dict)

    def _repr_html_(self) -> str:
        """Return the metrics of every split, and which run they are of, for a notebook."""
        names = list(dict.fromkeys(name for values in self.metrics.values() for name in values))
        rows = [
            (split, *(f"{values[name]:.5g}" if name in values else "" for name in names))
            for split, values in self.metrics.items()
        ]
        run = f"run {self.fingerprint} with seed {self.seed}: {self.steps:,} steps, {self.parameters:,} parameters"
        where = f"{self.seconds.get('total', math.nan):.1f} s on {self.device}"
        return html_table(("split", *names), rows) + html_lines((f"{run}, {where}",))


class Folder:
    """Paths and small files of one run."""

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self.experiment = self.root / "experiment.json"
        self.environment = self.root / "environment.json"
        self.code = self.root / "code.json"
        self.metrics = self.root / "metrics.jsonl"
        self.checkpoints = self.root / "checkpoints"
        self.curves = self.root / "curves.png"
        self.profile = self.root / "profile"
        self.baselines = self.root / "baselines"
        self.result = self.root / "result.json"
        self.details = self.root / "details.npz"
        self.lineage = self.root / "lineage.jsonl"
        self.digests = self.root / sealed.NAME
        self.chaos = self.root / "chaos.jsonl"
        self.archive = self.root / "archive"
        self.lock: Lock | None = None

    def read_experiment(self, known: set[type] | None = None) -> Experiment:
        """Return the experiment of this folder. Raises `RunError` where there is none or it is damaged."""
        try:
            experiment = from_json(sealed.read(self.experiment), known or ())
            if not isinstance(experiment, Experiment):
                raise UsageError("it holds no experiment")
            return experiment
        except FileNotFoundError:
            raise RunError(f"{self.root} is not a run folder: it has no experiment.json") from None
        except UnknownClassError as error:
            raise RunError(f"cannot read {self.experiment}: {error}") from error
        except (UsageError, OSError, ValueError) as error:
            raise RunError(f"{self.experiment} is damaged: {error}; restore it or choose another folder") from error

    def read_result(self) -> Result | None:
        """Return the result of a finished run, None of any other."""
        if not self.result.exists():
            return None
        try:
            result = Result(**json.loads(sealed.read(self.result)))
            validate(result)
            self.check_names(result.illustrations)
            metrics = {split: numbers(values) for split, values in result.metrics.items()}
            return dataclasses.replace(result, metrics=metrics, seconds=numbers(result.seconds))
        except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, OSError) as error:
            raise RunError(f"{self.result} is damaged: {error}; delete it and run again") from error

    def check_names(self, illustrations: Iterable[str]) -> None:
        """Raise `ValueError` unless each is the plain name of a file in this folder, and none of the run's own.

        `rollback` moves what result.json names, and that file may come from anywhere.
        """
        own = {path.name for path in vars(self).values() if isinstance(path, Path) and path != self.root}
        for name in illustrations:
            hidden = name.startswith(".")  # "..", and what a process writes to before it renames
            if not name or hidden or name in own or len(name.encode()) > LONGEST or {"/", "\\", "\0"} & set(name):
                raise ValueError(f"illustrations name {name!r}, which is no picture or sample in this folder")

    def check(self, experiment: Experiment) -> None:
        """Raise unless the folder is new, or holds this very experiment; writes nothing."""
        try:
            holds_experiment = self.experiment.exists()
            others = [path.name for path in (self.checkpoints, self.metrics, self.result, self.curves) if path.exists()]
        except OSError as error:
            raise UsageError(f"cannot use {self.root}: {error.strerror}; choose another --workdir") from error
        if holds_experiment:
            held = self.read_experiment(classes(experiment))
            if difference(held, experiment):
                raise UsageError(f"{self.root} holds another experiment:\n{explain(held, experiment)}")
        elif others:
            raise RunError(f"{self.root} has {others[0]} but no experiment.json; choose another folder")

    def has_begun(self) -> bool:
        """Return whether something of the run was computed."""
        return any(path.exists() for path in (self.checkpoints, self.metrics, self.result))

    def has_results(self) -> bool:
        """Return whether anything that was computed is kept: a state, a report or the result."""
        states = self.checkpoints.glob("*/[0-9]*")
        return self.result.exists() or any(states) or (self.metrics.exists() and self.metrics.stat().st_size > 0)

    @contextlib.contextmanager
    def claimed(self, since: float | None = None) -> Iterator[None]:
        """Make the folder and keep other processes from running in it; the lock is released when the process dies.

        What one that was killed has left is written into the lineage. `since` is when what runs began, by default now.

        Raises:
            UsageError: the folder cannot be written.
            RunError: another process is running in it; names it.
        """
        with contextlib.ExitStack() as stack:
            try:
                self.root.mkdir(parents=True, exist_ok=True)
                self.lock = stack.enter_context(held(self.root / ".lock", since))
            except OSError as error:
                raise UsageError(f"cannot write to {self.root}: {error.strerror}; choose another --workdir") from error
            if dead := self.lock.taken_from:
                facts = {"pid": dead.owner.pid, "host": dead.owner.host, "since": dead.owner.since}
                Lineage(self.lineage).add("lost", **facts, until=dead.until)
            try:
                yield
            finally:
                self.lock = None

    def heartbeat(self) -> None:
        """Show that this process is alive, where it claimed the folder. Raises `RunError` where another took over."""
        if self.lock is not None:
            self.lock.heartbeat()

    def create(self, experiment: Experiment, environment: dict[str, Any], files: dict[str, str]) -> None:
        """Write what is known at the start: the experiment, the environment, and the `files` of its dataset.

        An environment that is not the one of the last start is warned of, and written into the lineage.

        Raises:
            UsageError: that is not allowed.
            RunError: the folder has been trained on other data.
        """
        if self.has_results():  # else data that could not be read may have been mended since
            self.check_data(files)
        try:
            if not self.experiment.exists():
                sealed.write(self.experiment, to_json(experiment) + "\n")
            elif changed := drift(self.read_environment(), environment):
                log.warning("%s resumes where numbers may differ: %s", self.root, explain_drift(changed))
                Lineage(self.lineage).add("drifted", changed=changed)
            sealed.write(self.environment, json.dumps(environment, indent=2) + "\n")
            for name, text in files.items():
                sealed.write(self.root / name, text)
        except OSError as error:
            raise UsageError(f"cannot write to {self.root}: {error.strerror}; choose another --workdir") from error

    def read_environment(self) -> dict[str, Any]:
        """Return what the run was started on last; nothing where that is not known, as is said of a damaged file."""
        try:
            found = json.loads(sealed.read(self.environment))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            log.warning("%s is damaged: %s; what the run was started on is not known", self.environment, error)
            return {}
        return found if isinstance(found, dict) else {}

    def check_data(self, files: dict[str, str]) -> None:
        """Raise `RunError` where the `files` of a dataset are not those that the run began with."""
        for name, text in files.items():
            path = self.root / name
            if not path.exists() or path.read_bytes() == text.encode():
                continue
            if sealed.was_written(path, text):
                log.warning("%s is damaged; train writes it again", path)
            else:
                raise RunError(
                    f"{path} is not what the data says now: the dataset, or the package it comes from, has changed "
                    "since the run began; bring the old one back, or choose another folder"
                )

    def write_details(self, details: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        """Return details by split and name as JSON types: of large arrays, which go into details.npz, where they are.

        Raises:
            RunError: that file cannot be written.
        """
        large: dict[str, Any] = {
            f"{split}/{name}": detail
            for split, of_split in details.items()
            for name, detail in of_split.items()
            if isinstance(detail, np.ndarray) and detail.size > LARGE
        }
        if large:
            with writing(self.details), partial_file(self.details) as partial:
                np.savez_compressed(partial, **large)
                sealed.seal(self.details, partial)

        def plain(place: str, detail: Any) -> Any:
            """Return a detail as JSON types."""
            if place in large:
                return {"file": self.details.name, "array": place, "shape": list(detail.shape)}
            return detail.tolist() if isinstance(detail, np.ndarray) else detail

        return {
            split: {name: plain(f"{split}/{name}", detail) for name, detail in of_split.items()}
            for split, of_split in details.items()
        }

    def write_result(self, result: Result) -> None:
        """Write result.json. Raises `RunError` where that fails."""
        with writing(self.result):
            sealed.write(self.result, json.dumps(finite(dataclasses.asdict(result)), indent=2) + "\n")


def forget(folder: Folder) -> None:
    """Remove what a run came to, so that it begins again."""
    shutil.rmtree(folder.checkpoints, ignore_errors=True)
    for file in (folder.result, folder.metrics, folder.code):  # the code last: nothing may look as if it had none
        file.unlink(missing_ok=True)


def numbers(values: dict[Any, Any]) -> dict[Any, float]:
    """Return numbers by name as JSON has them, null as NaN, for which it has no word. Raises `TypeError` for others."""
    found = {name: math.nan if value is None else value for name, value in values.items()}
    for name, value in found.items():
        if type(value) not in (int, float):
            raise TypeError(f'"{name}" is no number')
        float(value)  # raises `OverflowError` for an integer that is too great
    return found


def finite(tree: Any) -> Any:
    """Return JSON types with null for every number that is not finite, which JSON has no word for."""
    if isinstance(tree, dict):
        return {key: finite(item) for key, item in tree.items()}
    if isinstance(tree, list):
        return [finite(item) for item in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
