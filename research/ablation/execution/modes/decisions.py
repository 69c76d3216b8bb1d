"""How each group of a study is run: decided once, by whichever process comes first, and written down for all."""

from collections.abc import Callable
from pathlib import Path

from research.ablation.design.groups import TrialGroup
from research.ablation.execution.modes.choosing import Choice, Execution, choice_file, read_choice, write_choice
from research.ablation.execution.waiting import Waiting
from research.ablation.store.claims import Claim, Claims
from research.errors import UsageError
from research.training.storage.files import writing


class Decisions:
    """The choices for the groups of a study, which is in the folder `root`."""

    def __init__(self, root: Path, claims: Claims, waiting: Waiting) -> None:
        self._root, self._claims, self._waiting = root, claims, waiting
        self._choices: dict[str, Choice] = {}

    def check(self, group: TrialGroup, execution: Execution) -> None:
        """Raise `UsageError` where a group has begun in another way than is asked for."""
        file = self._file(group)
        if execution != "auto" and file.exists() and (mode := read_choice(file).mode) != execution:
            raise UsageError(
                f'trials of {", ".join(group.cells)} in {self._root} were run as "{mode}", and to run others as '
                f'"{execution}" would compare unlike things: choose auto, or another folder'
            )

    def of(self, group: TrialGroup, decide: Callable[[], Choice]) -> Choice:
        """Return how a group is run: as it was before, by this process or another, else as is decided now.

        Raises:
            RunError: that cannot be written down.
        """
        file = self._file(group)
        while group.name not in self._choices:
            if file.exists():
                self._choices[group.name] = read_choice(file)
            elif (claim := self._claim(file)) is not None:
                if not file.exists():
                    choice = decide()
                    with writing(file):
                        write_choice(file, choice, group)
                self._claims.release(claim, "decided")
            else:
                self._waiting.pause()  # another process is measuring
        return self._choices[group.name]

    def change(self, group: TrialGroup, choice: Choice) -> None:
        """Run a group in another way from now on."""
        self._choices[group.name] = choice
        with writing(self._file(group)):
            write_choice(self._file(group), choice, group)

    def _claim(self, file: Path) -> Claim | None:
        """Return the right to decide; None where another process has it. Raises `RunError` where the disk is full."""
        with writing(file):
            return self._claims.acquire(file.parent)

    def _file(self, group: TrialGroup) -> Path:
        """Return where it is written how a group is run."""
        return choice_file(self._root, group.name)
