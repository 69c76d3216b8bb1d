"""Outcomes of trials that nobody trained, and the table of a study of them."""

import dataclasses
from pathlib import Path

from research.ablation import Study, one_at_a_time, plan
from research.ablation.report import table
from research.ablation.store.study_folder import Outcome
from research.experiment import fingerprint

BASELINE = (0.5, 0.6, 0.7, 0.8)
BETTER = (0.6, 0.8, 0.8, 1.0)  # differences 0.1, 0.2, 0.1, 0.2
SAME = (0.6, 0.5, 0.8, 0.7)  # differences ±0.1
HARD = r"a <b>&amp; 100 % of weight_decay | $x^2$ \ ~`'[*]*#{0}" + '"'


def tried(cell, seed, value, **fields):
    """The outcome of a trial: its accuracy, or the status of one without a value."""
    status = value if isinstance(value, str) else "done"
    ended = {
        "metrics": {"test": {"accuracy": value if status == "done" else 0.9, "loss": 1.0}},
        "seconds": {"total": 2.0 + seed},
        "parameters": 1234 + cell.index,
        "device": "cpu x 1",
        "versions": {"jax": "1.2.3"},
        "commit": "c0ffee",
    }
    more = ended if status in ("done", "diverged") else {}
    where = Path("absent") / f"{cell.index}-{seed}"
    known = {"error": "no room left", "mode": "vmap", **more, **fields}
    return Outcome("final", cell.index, cell.name, "", seed, fingerprint(cell.experiment), where, status, **known)


def study_of(experiment, *rows, **fields):
    """Outcomes, cells and study from one row of values a cell, the baseline's first."""
    others = tuple(i / 16 for i in range(len(rows) - 1))
    study = Study(one_at_a_time({"model.dropout": others}) if others else (), **{"seeds": len(rows[0]), **fields})
    cells = plan(experiment, study)
    outcomes = [
        tried(cell, seed, value)
        for cell, row in zip(cells, rows, strict=True)
        for seed, value in enumerate(row)
        if value is not None
    ]
    return outcomes, cells, study


def table_of(experiment, *rows, test=None, **fields):
    """The table of such a study."""
    return table(*study_of(experiment, *rows, **fields), "made up", test)


def entries_of(experiment, *rows, **fields):
    """The entries of every cell but the baseline in its first column."""
    return [row.entries[0] for row in table_of(experiment, *rows, **fields).rows[1:]]


def named(found, name):
    """The table with other names in its second row."""
    row = dataclasses.replace(found.rows[1], name=name, aliases=(name,), tuned=name)
    return dataclasses.replace(found, title=name, description=name, rows=(found.rows[0], row))
