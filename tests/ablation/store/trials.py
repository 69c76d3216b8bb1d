"""The files of a finished trial that nobody trained."""

from research.experiment import classes, fingerprint, to_json
from research.training import identity
from research.training.identity import Code
from research.training.identity.modules import modules
from research.training.storage.environment import settings, versions
from research.training.storage.folder import Folder, Result


def finish(store, trial, **metrics):
    """Write the files of a finished trial."""
    folder = Folder(store.folder(trial))
    folder.root.mkdir(parents=True, exist_ok=True)
    folder.experiment.write_text(to_json(trial.experiment))
    values = {"loss": 1.0, "accuracy": 0.5, **metrics}
    result = Result(
        experiment={},
        fingerprint=fingerprint(trial.experiment),
        seed=trial.seed,
        steps=12,
        metrics={"validation": values, "test": values},
        details={},
        seconds={"total": 2.5},
        parameters=7,
        device="abacus x 1",
        versions={"jax": "1"},
        commit="c0ffee",
    )
    folder.write_result(result)
    source = dict(modules(frozenset(classes(trial.experiment))))
    identity.record(folder, Code(source, {}, {**versions(), **settings()}))  # equal sources ask for no programs
