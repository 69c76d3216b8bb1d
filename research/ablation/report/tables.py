"""The table of a study: what its trials say about each cell, as a value that every writer of a report reads.

table(store.outcomes(), cells, study, "components")  # a row per cell, the baseline first
merge([of_digits, of_letters])                       # a row per cell name, the columns of every study
"""

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from research.ablation.design.names import shown
from research.ablation.design.study import Cell, Study, final_seeds, goal
from research.ablation.statistics.comparison import (
    Interval,
    Paired,
    equivalent,
    holm,
    minimum_seeds,
    paired,
    t_interval,
)
from research.ablation.store.study_folder import Outcome
from research.errors import UsageError, suggestion
from research.experiment import Experiment, fingerprint

Test = Literal["t", "permutation"]

Verdict = Literal["better", "worse", "different", "equivalent", "open"]
"""What may be claimed of a cell: "different" where nobody said which direction is better, "open" for nothing at all."""

LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Column:
    """One metric of one study, over all rows."""

    study: str
    """Name of the study; heads its columns where tables are merged."""
    metric: str
    split: str
    maximize: bool | None
    """Whether more is better; None where neither the study nor the task says so."""
    primary: bool
    """Whether this is what the study compares, and no further column."""
    seeds: tuple[int, ...]
    """Seeds that every cell should have."""
    tests: int
    """Cells that could be compared with the baseline, for which Holm's correction is made."""
    test: Test
    """Whose p-values are corrected to mark a row."""
    alpha: float
    margin: float | None

    @property
    def floor(self) -> int | None:
        """The fewest seeds at which an exact test of one of `tests` cells can reach alpha; None without a test."""
        return minimum_seeds(self.tests, self.alpha) if self.tests else None


@dataclasses.dataclass(frozen=True)
class Entry:
    """What the trials of one cell say about one metric. Differences are the cell's values minus the baseline's."""

    values: Mapping[int, float]
    """The finite values by seed; all that a mean is taken over."""
    diverged: tuple[int, ...]
    """Seeds whose run diverged, or ended with a value that is not finite."""
    failed: tuple[int, ...]
    """Seeds whose run failed."""
    missing: tuple[int, ...]
    """Seeds that have not been run to their end."""
    mean: float
    sd: float
    """Sample standard deviation; NaN for fewer than two values."""
    interval: Interval
    """95 % t interval of the mean."""
    comparison: Paired | None = None
    """None for the baseline, and where the two share no seed with finite values."""
    difference_sd: float = math.nan
    """Sample standard deviation of the paired differences."""
    variance_ratio: float = math.nan
    """Variance of the paired differences over that of unpaired ones: pairing pays where it is below 1."""
    holm_t_p: float = math.nan
    """p of the paired t test, by Holm's correction over the rows of this column."""
    holm_permutation_p: float = math.nan
    """p of the sign-flip test, by Holm's correction over the rows of this column."""
    marked: bool = False
    """Whether the corrected p that the column goes by is below alpha."""
    equivalent: bool | None = None
    """Whether an interval of level 1 - 2 alpha / tests lies within the margin; None without a margin."""
    verdict: Verdict | None = None
    """None for the baseline."""

    @property
    def n(self) -> int:
        """How many values there are."""
        return len(self.values)

    @property
    def planned(self) -> int:
        """How many values there should be."""
        return self.n + len(self.diverged) + len(self.failed) + len(self.missing)


@dataclasses.dataclass(frozen=True)
class Receipt:
    """Where the numbers of a cell come from, so that any of them can be had again."""

    study: str
    fingerprint: str
    overrides: Mapping[str, str]
    """{dotted path: value}."""
    seeds: tuple[int, ...]
    """Seeds whose run came to an end, good or not."""
    parameters: int | None
    """None where no run finished."""
    seconds: float
    """Mean wall time of the runs that finished; NaN without any."""
    commits: tuple[str, ...]
    versions: tuple[str, ...]
    """Each set of versions that was used, as one line."""
    devices: tuple[str, ...]
    modes: tuple[str, ...]
    errors: Mapping[int, str]
    """What went wrong, by seed."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One cell; of several studies where tables are merged."""

    name: str
    aliases: tuple[str, ...]
    """Other names of the very same experiment."""
    tuned: str
    """The nuisance setting that won."""
    entries: tuple[Entry | None, ...]
    """One a column; None where a merged study has no such cell."""
    receipts: tuple[Receipt, ...]
    """One a study that has this cell."""


@dataclasses.dataclass(frozen=True)
class ReportTable:
    """Rows by columns, the baseline in the first row."""

    title: str
    description: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    remarks: tuple[str, ...] = ()
    """What to know besides what the entries say, in sentences."""
    simple: tuple[Row, ...] = ()
    """Simple baselines: shown below the cells, compared with nothing, counted nowhere."""

    @property
    def lines(self) -> tuple[Row, ...]:
        """All that is shown: the cells, and below them the simple baselines."""
        return (*self.rows, *self.simple)

    @property
    def studies(self) -> tuple[str, ...]:
        """The studies, in the order of the columns."""
        return tuple(dict.fromkeys(column.study for column in self.columns))


def table(
    outcomes: Iterable[Outcome], cells: Sequence[Cell], study: Study, title: str = "", test: Test = "t"
) -> ReportTable:
    """Return the table of a study.

    Args:
        outcomes: of the trials, in any order; those that decided nuisance settings do not enter.
        cells: of `plan`, or of `winners` where the study tunes; the first one is the baseline.
        study: what was asked for. Its seeds decide which trials enter, so that nobody stops at a good number.
        title: name of the study.
        test: whose p-values Holm's correction marks a row by. The paired t test can reach any p with few seeds, and
            takes differences to be normal; "permutation" takes them to be symmetric, and needs more seeds.

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

    first = goal(baseline, study)
    goals = [first, *(_further(baseline, study, name) for name in study.metrics if name != first.metric)]
    columns, blocks = [], []
    for metric, maximize in goals:
        measured = [
            _measured(trials, seeds, metric, study.split, cell.name) for trials, cell in zip(found, cells, strict=True)
        ]
        tests = sum(bool(entry.values.keys() & measured[0].values.keys()) for entry in measured[1:])
        column = Column(
            title, metric, study.split, maximize, metric == first.metric, seeds, tests, test, study.alpha, study.margin
        )
        columns.append(column)
        blocks.append(_compared(measured, column))
    rows = tuple(
        Row(cell.name, cell.aliases, cell.tuned, entries, (_receipt(title, cell, trials),))
        for cell, trials, entries in zip(cells, found, zip(*blocks, strict=True), strict=True)
    )
    remarks = []
    if study.nuisance and not any(cell.tuned for cell in cells):
        remarks.append("The nuisance settings are not decided yet: trials that decide them are missing.")
    if left_out:
        remarks.append(f"Left out, as the study does not ask for them: {left_out} trials of other cells or seeds.")
    return ReportTable(title, study.description, tuple(columns), rows, tuple(remarks))


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


def _further(baseline: Experiment, study: Study, metric: str) -> tuple[str, bool | None]:
    """Return a further metric and whether more is better, None where nobody says so."""
    try:
        return goal(baseline, dataclasses.replace(study, metric=metric, maximize=None))
    except UsageError:
        return metric, None


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
        sd=_sd(numbers),
        interval=Interval(*map(float, t_interval(numbers, LEVEL))),
    )


def _value(trial: Outcome, metric: str, split: str, where: str) -> float:
    """Return a metric of a finished trial."""
    if split not in trial.metrics:
        raise UsageError(f'{where} was not evaluated on "{split}"{suggestion(split, trial.metrics)}')
    if metric not in trial.metrics[split]:
        raise UsageError(f'{where} has no metric "{metric}"{suggestion(metric, trial.metrics[split])}')
    return float(trial.metrics[split][metric])


def _compared(measured: Sequence[Entry], column: Column) -> list[Entry]:
    """Return the entries of a column, each but the first compared with the first."""
    baseline, *others = measured
    comparisons = [paired(baseline.values, other.values, column.maximize is not False, LEVEL) for other in others]
    corrected_t = _corrected(comparisons, [comparison.t_p for comparison in comparisons])
    corrected_permutation = _corrected(comparisons, [comparison.permutation_p for comparison in comparisons])
    entries = [baseline]
    for other, comparison, t_p, permutation_p in zip(
        others, comparisons, corrected_t, corrected_permutation, strict=True
    ):
        if not comparison.n:
            entries.append(dataclasses.replace(other, verdict="open"))
            continue
        if column.maximize is None:
            comparison = dataclasses.replace(comparison, better=math.nan)
        a, b = np.array([(baseline.values[seed], other.values[seed]) for seed in _common(baseline, other)]).T
        unpaired = _sd(a) ** 2 + _sd(b) ** 2
        marked = bool((t_p if column.test == "t" else permutation_p) < column.alpha)
        level = 1 - 2 * column.alpha / column.tests  # two one-sided tests, corrected for all cells
        within = None if column.margin is None else equivalent(t_interval(b - a, level), column.margin)
        entries.append(
            dataclasses.replace(
                other,
                comparison=comparison,
                difference_sd=_sd(b - a),
                variance_ratio=_sd(b - a) ** 2 / unpaired if unpaired > 0 else math.nan,
                holm_t_p=float(t_p),
                holm_permutation_p=float(permutation_p),
                marked=marked,
                equivalent=within,
                verdict=_verdict(comparison.difference, marked, bool(within), column.maximize),
            )
        )
    return entries


def _corrected(comparisons: Sequence[Paired], p_values: Sequence[float]) -> np.ndarray:
    """Return p-values by Holm's correction over all cells that can be compared, those without a p among them."""
    undefined = np.isnan(p_values)
    counted = np.where(undefined & np.array([comparison.n > 0 for comparison in comparisons], bool), 1.0, p_values)
    return np.where(undefined, np.nan, holm(counted))


def _common(a: Entry, b: Entry) -> list[int]:
    """Return the seeds that both have values of."""
    return sorted(a.values.keys() & b.values.keys())


def _verdict(difference: float, marked: bool, within: bool, maximize: bool | None) -> Verdict:
    """Return what may be claimed; a significant difference comes before a negligible one."""
    if not marked:
        return "equivalent" if within else "open"
    if maximize is None:
        return "different"
    return "better" if (difference > 0) == maximize else "worse"


def _sd(values: np.ndarray) -> float:
    """Return the sample standard deviation, NaN for fewer than two values."""
    return float(values.std(ddof=1)) if len(values) > 1 else math.nan


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
        versions=each(lambda trial: ", ".join(f"{name} {version}" for name, version in trial.versions.items())),
        devices=each(lambda trial: trial.device),
        modes=each(lambda trial: trial.mode),
        errors={trial.seed: trial.error for trial in ordered if trial.status == "failed"},
    )
