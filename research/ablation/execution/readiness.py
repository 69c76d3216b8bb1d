"""Whether a study can be run, found before its folder says that it shall be."""

from collections.abc import Iterable
from pathlib import Path

from research.ablation.design.metrics import check_metrics
from research.ablation.design.study import Study, check, plan
from research.ablation.execution.changes import Changes
from research.ablation.store.study_folder import Store
from research.experiment import Experiment, fingerprint


def prepared(
    workdir: str | Path,
    experiment: Experiment,
    study: Study,
    drop: Iterable[str] = (),
    again: bool = False,
    accept: bool = False,
) -> Store:
    """Return the store of a study as `Store.open` does, once every cell that is new to it fits.

    What is refused leaves nothing behind: the next command would be refused for it, whatever it asks, or add seeds to
    those that were not added.

    Args:
        workdir, experiment, study, drop: as of `Store.of`.
        again, accept: what becomes of trials that other code ran, as of `Changes`.

    Raises:
        UsageError: a cell does not fit, the code has changed and nobody says what is to become of it, or as
            `Store.open`.
    """
    store = Store.of(workdir, experiment, study, drop)
    check_new(store)
    Changes(store, again, accept).look((*store.tuning_trials, *store.final_trials()))
    store.save()
    return store


def check_new(store: Store) -> None:
    """Raise `UsageError`, naming the cell, where what a folder does not hold yet does not fit; computes nothing."""
    held = store.held
    if held is not None and held.study == store.study:
        return
    before = [] if held is None else [fingerprint(cell.experiment) for cell in plan(held.experiment, held.study)]
    cells = plan(store.experiment, store.study)
    variants = [variant for tuning in store.tunings for variant in tuning.variants]
    check([*(cell for cell in cells if fingerprint(cell.experiment) not in before), *variants])
    check_metrics(cells, store.study)
