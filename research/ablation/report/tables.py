"""The table of a study: what its trials say about each cell.

table(store.outcomes(), cells, study, "components")  # a row per cell, the baseline first
merge([of_digits, of_letters])                       # a row per cell name, the columns of every study
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from research.ablation.design.names import shown
from research.ablation.design.study import Cell, Study, Test, direction, final_seeds, goal
from research.ablation.report.entries import LEVEL, TESTS, Column, Entry, Receipt, ReportTable, Row
from research.ablation.report.verdicts import compared, sample_sd
from research.ablation.statistics.comparison import Interval, t_interval
from research.ablation.store.study_folder import Outcome
from research.errors import UsageError, suggestion
from research.experiment import fingerprint


def table(
    outcomes: Iterable[Outcome], cells: Sequence[Cell], study: Study, title: str = "", test: Test | None = None
) -> ReportTable:
    """Return the table of a study.

    Args:
        outcomes: of the trials, in any order; those that decided nuisance settings do not enter.
        cells: of `plan`, or of `winners` where the study tunes; the first one is the baseline.
        study: what was asked for. Its seeds decide which trials enter, so that nobody stops at a good number.
        title: name of the study.
        test: whose p-values Holm's correction marks a row by, instead of the study's; a remark says so.

    Raises:
        UsageError: a finished trial lacks a metric or split that the study names.
    """
    baseline = cells[0].experiment
    seeds = tuple(final_seeds(baseline, study))
    index = {fingerprint(cell.experiment): number for number, cell in enumerate(cells)}
    found: list[dict[int, Outcome]] = [{} for _ in cells]
    left_out = 0
    for outcome in outcomes:
        if outcome.phase == "final":
            if outcome.fingerprint in index and outcome.seed in seeds:
                found[index[outcome.fingerprint]][outcome.seed] = outcome
            else:
                left_out += 1

    planned: Test = "permutation" if study.looks else study.test
    if study.looks and test is not None:
        raise UsageError("a study with looks goes by its plan: leave --test out")
    first, decides = goal(baseline, study), test or planned
    goals = [first, *((name, direction(baseline, name)) for name in study.metrics if name != first.metric)]
    columns, blocks = [], []
    for metric, maximize in goals:
        measured = [
            _measured(trials, seeds, metric, study.split, cell.name) for trials, cell in zip(found, cells, strict=True)
        ]
        tests = sum(bool(entry.values.keys() & measured[0].values.keys()) for entry in measured[1:])
        column = Column(
            study=title,
            metric=metric,
            split=study.split,
            maximize=maximize,
            primary=metric == first.metric,
            seeds=seeds,
            tests=tests,
            test=decides,
            alpha=study.alpha,
            margin=study.margin,
            looks=study.looks,
        )
        columns.append(column)
        blocks.append(compared(measured, column))
    rows = tuple(
        Row(cell.name, cell.aliases, cell.tuned, entries, (_receipt(title, cell, trials),))
        for cell, trials, entries in zip(cells, found, zip(*blocks, strict=True), strict=True)
    )
    remarks = [_looked(study)] if study.looks else []
    if decides != planned:
        remarks.append(
            f"The {TESTS[decides]} test was chosen for this report: the study plans the {TESTS[planned]} test."
        )
    if study.nuisance and not any(cell.tuned for cell in cells):
        remarks.append("The nuisance settings are not decided yet: trials that decide them are missing.")
    if left_out:
        remarks.append(f"Left out, as the study does not ask for them: {left_out} trials of other cells or seeds.")
    return ReportTable(title, study.description, tuple(columns), rows, tuple(remarks))


def _looked(study: Study) -> str:
    """Return how often a study is looked at, and how far it has come."""
    return (
        f"Looks at {', '.join(map(str, study.looks))} seeds were fixed before the first run, and seeds are added while "
        f"a cell is open; this one is at {study.seeds}. The p that decides is that of the permutation test at the look "
        f"where it was least, corrected for {len(study.looks)} looks (Bonferroni) and for the cells (Holm)."
    )


def merge(tables: Sequence[ReportTable], title: str = "", description: str = "") -> ReportTable:
    """Return one table of several studies or experiments: a row for each cell name, the columns of every table.

    Nothing is pooled: every comparison and every correction stays within its own study.

    Raises:
        UsageError: there is no table, or two of them have the same title.
    """
    if not tables:
        raise UsageError("there is no table to merge")
    names = [name for table in tables for name in table.studies]
    if len(set(names)) < len(names):
        raise UsageError(f"tables to merge need titles of their own, not {', '.join(names)}")
    columns = tuple(column for table in tables for column in table.columns)
    remarks = tuple(f"{table.title}: {remark}" for table in tables for remark in table.remarks)
    rows = _joined(tables, [table.rows for table in tables])
    simple = _joined(tables, [table.simple for table in tables])
    return ReportTable(title, description, columns, rows, remarks, simple)


def _joined(tables: Sequence[ReportTable], rows: Sequence[Sequence[Row]]) -> tuple[Row, ...]:
    """Return the rows of several tables as one for each name, with an entry for each column of every table."""
    held = [{row.name: row for row in each} for each in rows]
    joined = []
    for name in dict.fromkeys(name for rows_by_name in held for name in rows_by_name):
        mine = [rows_by_name.get(name) for rows_by_name in held]
        joined.append(
            Row(
                name=name,
                aliases=tuple(dict.fromkeys(alias for row in mine if row for alias in row.aliases)),
                tuned="; ".join(dict.fromkeys(row.tuned for row in mine if row and row.tuned)),
                entries=tuple(
                    entry
                    for table, row in zip(tables, mine, strict=True)
                    for entry in (row.entries if row else (None,) * len(table.columns))
                ),
                receipts=tuple(receipt for row in mine if row for receipt in row.receipts),
            )
        )
    return tuple(joined)


def _measured(trials: Mapping[int, Outcome], seeds: Sequence[int], metric: str, split: str, cell: str) -> Entry:
    """Return what the trials of a cell say by themselves."""
    ended = {seed: trial for seed, trial in trials.items() if trial.status == "done"}
    everything = {seed: _value(trial, metric, split, f"{cell} with seed {seed}") for seed, trial in ended.items()}
    values = {seed: value for seed, value in sorted(everything.items()) if math.isfinite(value)}
    failed = tuple(seed for seed in seeds if seed in trials and trials[seed].status == "failed")
    diverged = tuple(
        seed for seed in seeds if seed in trials and seed not in values and trials[seed].status in ("done", "diverged")
    )
    missing = tuple(seed for seed in seeds if seed not in {*values, *diverged, *failed})
    return summarized(values, diverged, failed, missing)


def summarized(
    values: Mapping[int, float], diverged: tuple[int, ...], failed: tuple[int, ...], missing: tuple[int, ...]
) -> Entry:
    """Return the entry of finite values by seed, compared with nothing, and of the seeds that have none."""
    numbers = np.array(list(values.values()), np.float64)
    return Entry(
        values=values,
        diverged=diverged,
        failed=failed,
        missing=missing,
        mean=float(numbers.mean()) if values else math.nan,
        sd=sample_sd(numbers),
        interval=Interval(*map(float, t_interval(numbers, LEVEL))),
    )


def _value(trial: Outcome, metric: str, split: str, where: str) -> float:
    """Return a metric of a finished trial."""
    if split not in trial.metrics:
        raise UsageError(f'{where} was not evaluated on "{split}"{suggestion(split, trial.metrics)}')
    if metric not in trial.metrics[split]:
        raise UsageError(f'{where} has no metric "{metric}"{suggestion(metric, trial.metrics[split])}')
    return float(trial.metrics[split][metric])


def _receipt(study: str, cell: Cell, trials: Mapping[int, Outcome]) -> Receipt:
    """Return where the numbers of a cell come from."""
    ordered = [trials[seed] for seed in sorted(trials)]
    ended = [trial for trial in ordered if trial.finished]
    seconds = [trial.seconds["total"] for trial in ended]

    def each(read: Callable[[Outcome], str | None]) -> tuple[str, ...]:
        """Return every answer that occurs, once."""
        return tuple(dict.fromkeys(answer for trial in ordered if (answer := read(trial))))

    return Receipt(
        study=study,
        fingerprint=fingerprint(cell.experiment),
        overrides={path: shown(value, exact=True) for path, value in cell.overrides.items()},
        seeds=tuple(trial.seed for trial in ordered if trial.finished or trial.status == "failed"),
        parameters=next((trial.parameters for trial in ended), None),
        seconds=float(np.mean(seconds)) if seconds else math.nan,
        commits=each(lambda trial: trial.commit),
        codes=each(lambda trial: trial.code.name if trial.code else None),
        versions=each(lambda trial: ", ".join(f"{name} {version}" for name, version in trial.versions.items())),
        devices=each(lambda trial: trial.device),
        modes=each(lambda trial: trial.mode),
        errors={trial.seed: trial.error for trial in ordered if trial.status == "failed"},
    )
