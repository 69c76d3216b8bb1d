"""What data says about the rest of an experiment, written into its value before anything is named after it."""

from collections.abc import Set
from typing import Any

from research.data.schema import Tokens
from research.experiment.replacing import replace
from research.experiment.value import Experiment
from research.fields import children


def fit_data(experiment: Experiment, given: Set[str] = frozenset(), data_dir: str | None = None) -> Experiment:
    """Return `experiment` with what its data finds in its files, but for the dotted paths that are `given`.

    A pure function of the value and the files: fitted again it stays as it is.

    Raises:
        UsageError: the data cannot be read.
    """
    below = {path.removeprefix("data.") for path in given if path.startswith("data.")}
    found = experiment.data.found(below, data_dir)
    return _with(experiment, {f"data.{name}": value for name, value in found.items()}, given)


def fit_model(experiment: Experiment, given: Set[str] = frozenset()) -> Experiment:
    """Return `experiment` with as many outputs and token ids of its model as task and data need; reads no files."""
    schema, ends = experiment.data.schema(), dict[str, Any]()
    if (width := experiment.task.width(schema)) is not None:
        ends["model.classes"] = width
    if ids := [entry.ids for entry in schema.entries.values() if isinstance(entry, Tokens)]:
        ends["model.vocabulary"] = max(ids)
    fields = {name for name, _, _ in children(experiment.model)}
    return _with(experiment, {path: size for path, size in ends.items() if path.split(".")[1] in fields}, given)


def fit(experiment: Experiment, given: Set[str] = frozenset(), data_dir: str | None = None) -> Experiment:
    """Return `experiment` with its data fitted to the files, and its model to the data, but for what is `given`."""
    return fit_model(fit_data(experiment, given, data_dir), given)


def _with(experiment: Experiment, found: dict[str, Any], given: Set[str]) -> Experiment:
    """Return `experiment` with what was found, and what was given as it is."""
    return replace(experiment, {path: value for path, value in found.items() if path not in given})
