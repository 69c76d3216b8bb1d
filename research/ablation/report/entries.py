"""The table of a study as a value, which every writer of a report reads."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Literal

from research.ablation.design.study import Test
from research.ablation.statistics.comparison import Interval, Paired, minimum_seeds

Verdict = Literal["better", "worse", "different", "equivalent", "open"]
"""What may be claimed of a cell: "different" where nobody said which direction is better, "open" for nothing at all."""

LEVEL = 0.95

TESTS: Mapping[Test, str] = {"t": "paired t", "permutation": "permutation"}
"""The tests in words."""


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
    looks: tuple[int, ...] = ()
    """Numbers of seeds at which the study is looked at, as it was planned; () is once."""

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
    """p of the paired t test, by Holm's correction over the rows of this column; of the sign-flip test where all
    differences are equal, so that t is not defined."""
    holm_permutation_p: float = math.nan
    """p of the sign-flip test, by Holm's correction over the rows of this column."""
    corrected_p: float = math.nan
    """The p that the column goes by: of its test by Holm's correction, and by that for looks where some are planned."""
    marked: bool = False
    """Whether that p is below alpha and no pair of runs is missing."""
    equivalent: bool | None = None
    """Whether two one-sided tests at alpha / tests find the differences within the margin; None without a margin."""
    verdict: Verdict | None = None
    """None for the baseline."""
    lost: int = 0
    """Pairs of runs that the study asks for and that lack a finite value, so that nothing may be claimed."""
    divergence_p: float = math.nan
    """p of the exact test that cell and baseline diverge equally often, by Holm's correction over the rows."""

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
    codes: tuple[str, ...]
    """Digests of the code that decided the numbers, whether or not a commit has it."""
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
