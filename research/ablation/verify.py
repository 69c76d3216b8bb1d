"""Whether a number of a report can be had again."""

import dataclasses
import math
import tempfile

from research import training
from research.ablation.execution.modes.choosing import choice_file, read_choice
from research.ablation.execution.options import for_trials
from research.ablation.store.study_folder import Store
from research.devices.cpu.cores import cores, divided, kept_to
from research.errors import UsageError, suggestion
from research.experiment import RunOptions
from research.training.storage.environment import device, environment
from research.training.storage.folder import Folder


@dataclasses.dataclass(frozen=True)
class Verification:
    """A trial run again: by how much its metrics differ from those in the store."""

    name: str
    seed: int
    differences: dict[str, float]
    """{split and metric: absolute difference}; NaN where only one of the two has it as a finite number."""
    recorded: str
    """How the trial in the store was run."""
    repeated: str
    """How it was run again."""

    @property
    def equal(self) -> bool:
        """Whether every number is exactly the same."""
        return all(difference == 0 for difference in self.differences.values())

    def __str__(self) -> str:
        where = f"{self.name}, seed {self.seed}, recorded from {self.recorded}, run again {self.repeated}"
        if self.equal:
            return f"{where}: all {len(self.differences)} numbers are exactly equal"
        differing = ", ".join(f"{name} by {value:.3g}" for name, value in self.differences.items() if value != 0)
        return f"{where}: these differ: {differing}"


def verify(store: Store, row: str, seed: int, options: RunOptions | None = None) -> Verification:
    """Run one trial of a study again, alone and in a temporary folder, and compare every final metric.

    Args:
        store: of the study.
        row: the cell's name, as the report has it.
        seed: of the trial.
        options: what does not change the numbers, such as where prepared datasets are.

    A trial that was run together with others may differ in the last digits, because sums are taken in another order. So
    may one that had another number of a CPU's cores: it is run again with as many, unless jax has begun before.

    Raises:
        UsageError: there is no such trial, or it has no result yet.
    """
    trials = store.final_trials()
    names = list(dict.fromkeys(trial.cell.name for trial in trials))
    if row not in names:
        raise UsageError(f'the study has no cell "{row}"{suggestion(row, names)}')
    found = [trial for trial in trials if (trial.cell.name, trial.seed) == (row, seed)]
    if not found:
        seeds = sorted({trial.seed for trial in trials})
        raise UsageError(f"the study has no seed {seed}; its seeds are {seeds[0]} to {seeds[-1]}")
    (trial,) = found
    outcome = store.outcome(trial, "final")
    if not outcome.finished:
        raise UsageError(f"{row} with seed {seed} has no result to compare with: it is {outcome.status}")
    options, _ = for_trials(options or RunOptions(progress="none"), "loop")
    file = choice_file(store.root, str(outcome.group))
    if file.exists():
        options = dataclasses.replace(options, steps_per_call=read_choice(file).steps_per_call)
    used = Folder(outcome.folder).read_environment().get("cores")
    part = divided(max(cores() // used, 1))[0] if isinstance(used, int) and used else frozenset()
    with tempfile.TemporaryDirectory() as folder, kept_to(part):
        result = training.train(trial.experiment, folder, options)
        repeated = f"alone on {device()}{_of_cores(environment()['cores'])}"
    return Verification(
        name=row,
        seed=seed,
        differences=_differences(outcome.metrics, result.metrics),
        recorded=f"{outcome.mode or 'a single run'} on {outcome.device}{_of_cores(used)}",
        repeated=repeated,
    )


def _of_cores(count: object) -> str:
    """Return in words how many cores a CPU had, nothing where that does not matter or is not known."""
    return f" of {count} core{'s' * (count != 1)}" if count else ""


def _differences(a: dict[str, dict[str, float]], b: dict[str, dict[str, float]]) -> dict[str, float]:
    """Return the absolute difference of every metric of either; two that are both not finite do not differ."""
    one, other = (
        {f"{split} {name}": value for split, values in metrics.items() for name, value in values.items()}
        for metrics in (a, b)
    )
    return {name: _difference(one.get(name), other.get(name)) for name in sorted(one.keys() | other.keys())}


def _difference(a: float | None, b: float | None) -> float:
    """Return how far two numbers are apart, NaN where only one is a finite number."""
    if a is None or b is None:
        return math.nan
    if not (math.isfinite(a) or math.isfinite(b)):
        return 0.0
    return abs(a - b) if math.isfinite(a) and math.isfinite(b) else math.nan
