"""The command `verify`: whether a trial comes out the same again."""

import dataclasses

from research.ablation.store.study_folder import Store
from research.errors import RunError
from research.experiment import RunOptions


@dataclasses.dataclass(frozen=True)
class Verify:
    """Run one trial of a study again and say whether the numbers are equal; exits with 1 where they are not."""

    workdir: str
    """Folder of the study."""
    row: str
    """Name of the cell, as the report has it."""
    seed: int
    """Which of its seeds."""
    data_dir: str | None = None
    """Where prepared datasets are kept."""
    smoke: bool = False
    """Taken as by every command; the folder says what it holds."""


def verify(arguments: Verify, known: set[type]) -> None:
    """Run a trial again and say whether it came out the same."""
    from research.ablation.verify import verify as run_again

    options = RunOptions(data_dir=arguments.data_dir, progress="none")
    verification = run_again(Store(arguments.workdir, known), arguments.row, arguments.seed, options)
    if not verification.equal:
        raise RunError(str(verification))
    print(verification)
