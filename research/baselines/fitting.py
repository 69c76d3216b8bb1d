"""Fitting the baselines that have no result yet."""

import dataclasses
import functools
import importlib.metadata
import json
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import get_args

from research.baselines.baseline import Baseline, Examples
from research.baselines.judging import examples, metrics
from research.baselines.store import Judgement, fingerprint, folder, keep, read
from research.data import Records, Split
from research.errors import UsageError
from research.experiment import Experiment, to_json
from research.training.storage.environment import commit, versions

JUDGED: tuple[Split, ...] = ("validation", "test")  # what the result of a run has, too


def judge_missing(
    experiment: Experiment,
    baselines: Mapping[str, Baseline],
    root: Path,
    seeds: Sequence[int] = (),
    data_dir: str | None = None,
) -> Iterator[Judgement]:
    """Yield a judgement of every baseline, of those that draw random numbers with each seed; fit what has none.

    One that raises is yielded with its error and kept, so that a report shows it; the next call tries it again. A
    `UsageError`, such as a missing extra, is yielded and not kept, for nothing was tried. A kill leaves nothing
    half-written.

    Args:
        experiment: whose data and task it is; the model does not matter.
        baselines: by name, each a Python identifier.
        root: the folder of their results.
        seeds: of what draws random numbers, the first one also of what does not; default: the experiment's.
        data_dir: where prepared datasets are kept.

    Raises:
        UsageError: a name is none.
        RunError: a result is damaged.
    """
    for name in baselines:
        if not name.isidentifier():
            raise UsageError(f'the baseline "{name}" names a folder: call it a word of letters, digits and "_"')
    splits = OpenedSplits(experiment, data_dir)
    for name, baseline in baselines.items():
        for seed in tuple(seeds or (experiment.seed,))[: None if baseline.draws else 1]:
            planned = Judgement(name, fingerprint(baseline, experiment), seed, json.loads(to_json(baseline)))
            held = read(folder(root, planned) / "result.json")
            yield held if held is not None and not held.error else _judged(planned, baseline, experiment, splits, root)


class OpenedSplits:
    """The splits of an experiment, opened and prepared when a baseline first asks for them."""

    def __init__(self, experiment: Experiment, data_dir: str | None) -> None:
        self._data, self._data_dir = experiment.data, data_dir

    @functools.cached_property
    def records(self) -> dict[Split, Records]:
        """The splits as they are."""
        return {name: self._data.open(name, self._data_dir) for name in get_args(Split)}

    @functools.cached_property
    def fitted_to(self) -> tuple[Examples, Examples]:
        """The training and the validation split, prepared."""
        return examples(self._data, self.records["train"]), examples(self._data, self.records["validation"])


def _judged(
    planned: Judgement, baseline: Baseline, experiment: Experiment, splits: OpenedSplits, root: Path
) -> Judgement:
    """Fit a baseline, judge it and keep the result."""
    try:
        train, validation = splits.fitted_to
        began = time.perf_counter()
        fitted = baseline.fit(train, validation, planned.seed)
        between = time.perf_counter()
        found: dict[str, dict[str, float]] = {
            name: metrics(experiment, fitted, splits.records[name]) for name in JUDGED
        }
        ended = time.perf_counter()
        seconds = {"fit": between - began, "evaluate": ended - between, "total": ended - began}
        used = {**versions(), **{name: importlib.metadata.version(name) for name in baseline.packages}}
        judgement = dataclasses.replace(planned, metrics=found, seconds=seconds, versions=used, commit=commit())
    except UsageError as error:
        return dataclasses.replace(planned, error=str(error))
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        told = "".join(traceback.format_exception(error))
        judgement = dataclasses.replace(planned, error=reason, traceback=told, versions=versions(), commit=commit())
    try:
        keep(root, judgement)
    except OSError as error:
        reason = f"{folder(root, judgement)} cannot be written: {error.strerror}"
        return dataclasses.replace(judgement, error=judgement.error or reason)
    return judgement
