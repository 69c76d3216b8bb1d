"""Frozen networks of a run: read from the runs that trained them, and told apart by a digest."""

import dataclasses
import hashlib
import json
from pathlib import Path

from research.devices import ONE_DEVICE, Layout
from research.errors import RunError, UsageError
from research.experiment import Experiment, RunOptions
from research.models.model import as_model
from research.training.initialization.start import start_folder
from research.training.storage.checkpoints.manifest import digests
from research.training.storage.checkpoints.restoration import restore
from research.training.update.references import References, collections


def read_references(experiment: Experiment, root: Path, options: RunOptions, layout: Layout = ONE_DEVICE) -> References:
    """Return the collections of every reference of a run in the folder `root`, laid out over its devices.

    Each is divided by the rules of its own model. Under `pmap` every device has all of it.

    Raises:
        RunError: the run that trains one has not come to its end.
    """
    found = {}
    for name, source in experiment.references:
        folder = start_folder(source, root, options)
        try:
            _, state = restore(folder)
        except RunError as error:
            raise RunError(f'the reference "{name}" is not there: {error}') from error
        if int(state.step) < source.steps:
            raise RunError(f'the reference "{name}" in {folder} has taken {state.step} of {source.steps} steps')
        own = dataclasses.replace(layout, rules=as_model(source.model).partition)
        found[name] = own.put(collections(state), "everywhere" if layout.method == "pmap" else "state")
    return found


def digests_of(references: References) -> dict[str, str]:
    """Return a digest of each reference over all its arrays, by name."""
    return {
        name: hashlib.blake2b(json.dumps(digests(tree), sort_keys=True).encode(), digest_size=16).hexdigest()
        for name, tree in references.items()
    }


def check_references(experiment: Experiment) -> None:
    """Raise `UsageError` unless an experiment has the references that its task looks at, each once."""
    wanted, given = experiment.task.references, [name for name, _ in experiment.references]
    task = type(experiment.task).__name__
    for name in wanted:
        if given.count(name) != 1:
            raise UsageError(f'{task} looks at one reference "{name}", and references has {given.count(name)}')
    for name in given:
        if name not in wanted:
            known = f"only at {', '.join(wanted)}" if wanted else "at none"
            raise UsageError(f'{task} does not look at the reference "{name}", but {known}: take it out of references')
