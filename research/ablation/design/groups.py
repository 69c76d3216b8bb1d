"""Trials that share a compiled step: those of one program, one number of steps and the same frozen networks."""

import dataclasses
import hashlib
from collections.abc import Iterable

from research.ablation.design.study import Trial
from research.experiment import Experiment, split

References = tuple[tuple[str, Experiment], ...]
Key = tuple[Experiment, int, References]


@dataclasses.dataclass(frozen=True)
class TrialGroup:
    """What may run together: only arrays differ between its trials. `name` is a short hash of the program."""

    name: str
    trials: tuple[Trial, ...]

    @property
    def steps(self) -> int:
        """Training steps of each trial."""
        return self.trials[0].experiment.steps

    @property
    def cells(self) -> tuple[str, ...]:
        """The names of the cells whose trials it holds."""
        return tuple(dict.fromkeys(trial.cell.name for trial in self.trials))


def groups(trials: Iterable[Trial]) -> tuple[TrialGroup, ...]:
    """Return the groups of trials, each in the order given."""
    found: dict[Key, list[Trial]] = {}
    for trial in trials:
        experiment = trial.experiment
        program, _ = split(experiment)
        found.setdefault((program, experiment.steps, experiment.references), []).append(trial)
    return tuple(TrialGroup(_name(*key), tuple(members)) for key, members in found.items())


def _name(program: Experiment, steps: int, references: References) -> str:
    """Return ten hexadecimal digits; a program's text holds every field, with the same sign for every argument."""
    held = f" {references!r}" if references else ""
    return hashlib.sha256(f"{program!r} {steps}{held}".encode()).hexdigest()[:10]
