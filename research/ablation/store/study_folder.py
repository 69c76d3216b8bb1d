"""A study's folder: what is asked for, and what came of every trial. Nothing is kept but in its files.

study.json                    baseline, cells, seeds, metric
trials/FINGERPRINT-seedN/     a run folder as `train` writes it, and
    status.json               what is known of the trial besides its result
    attempts/1.json ...       who worked on it (`research.ablation.store.claims`)
baselines/                    what simple baselines come to (`research.baselines.store`)
groups/ID/execution.json      how the trials of a program are run, and what was measured to decide it
"""

import collections
import dataclasses
import functools
import json
import logging
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

from research.ablation.design.study import Cell, Goal, Study, Trial, final_seeds, goal, plan, trials
from research.ablation.design.tuning import Tuning, nuisance_plan, tuning_seeds, winners
from research.ablation.store.claims import attempts, is_claimed
from research.ablation.store.history import History
from research.ablation.store.recording import Held, merged, named, read_study, without, write_study
from research.errors import RunError, UsageError, suggestion
from research.experiment import Experiment, explain, fingerprint
from research.fields import annotations, canonical
from research.notebook import html_lines, html_table
from research.training.identity import Code
from research.training.identity import read as read_code
from research.training.storage import sealed
from research.training.storage.folder import Folder, finite

log = logging.getLogger(__name__)

Phase = Literal["tuning", "final"]
Status = Literal["planned", "running", "done", "failed", "diverged", "pruned"]

KNOWN = frozenset(("status", "mode", "group", "device", "error", "traceback"))  # what status.json says of a trial

MARK = "screening.json"  # what a screening was asked for; no folder without it is one
SEARCH = "optuna.jsonl"  # what a search has asked and was told; no folder without it is one


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of one trial.

    `metrics` is {split: {name: value}} and `seconds` the wall time by phase, a trial's part of that of its group; both
    are empty without a result. `error` is a sentence, and `traceback` the whole story, of a failed trial. A diverged
    trial has a result in which the loss or the metric of the study is not finite. `attempt` is how often it was begun.
    """

    phase: Phase
    cell: int
    name: str
    tuned: str
    seed: int
    fingerprint: str
    folder: Path
    status: Status
    attempt: int = 0
    error: str = ""
    traceback: str = ""
    metrics: dict[str, dict[str, float]] = dataclasses.field(default_factory=dict)
    seconds: dict[str, float] = dataclasses.field(default_factory=dict)
    parameters: int | None = None
    mode: str | None = None
    group: str | None = None
    device: str | None = None
    versions: dict[str, str] = dataclasses.field(default_factory=dict)
    commit: str | None = None
    code: Code | None = None

    @property
    def finished(self) -> bool:
        """Whether there is a result, good or not."""
        return self.status in ("done", "diverged")


class Store:
    """The folder of a study. `experiment` is its baseline before `study.fixed`, `held` what is in its file.

    Raises:
        RunError: there is no study in the folder, or its file is damaged.
    """

    held: Held | None

    def __init__(self, root: str | Path, known: Iterable[type] = ()) -> None:
        self.root = Path(root)
        self.experiment, self.study, self.history = self.held = read_study(self.root / "study.json", known)

    @classmethod
    def of(cls, root: str | Path, experiment: Experiment, study: Study, drop: Iterable[str] = ()) -> "Store":
        """Return the store of a study, with cells and seeds added to those already there; writes nothing.

        Cells named in `drop` are taken out, now and whenever they are asked for again.

        Raises:
            UsageError: the folder holds a different study, or no cell of such a name; says what differs.
        """
        store, file = cls.__new__(cls), Path(root) / "study.json"
        store.root, store.experiment, store.history, store.held = Path(root), experiment, History(), None
        if file.exists():
            store.held = held = read_study(file, (), (experiment, study))
            if differences := explain(held.experiment, experiment):
                raise UsageError(f"{root} holds a study of another experiment:\n{differences}")
            known = named(experiment, study)
            begun = functools.cache(lambda: any(outcome.finished for outcome in cls(root, known).outcomes()))
            asked = without(experiment, study, held.history.dropped.values())
            study, store.history = merged(held.study, asked, str(root), begun), held.history
            if study.seeds > held.study.seeds and not study.looks and begun():
                seeds = (*held.history.seeds, held.study.seeds)
                store.history = dataclasses.replace(held.history, seeds=seeds)
        store.study = study
        store._drop([name for name in drop if name not in store.history.dropped])
        return store

    def _drop(self, names: Sequence[str]) -> None:
        """Take cells out of the study. Raises `UsageError` where there is none of such a name."""
        found = {name: cell for cell in plan(self.experiment, self.study)[1:] for name in (cell.name, *cell.aliases)}
        for name in names:
            if name not in found:
                raise UsageError(f'no cell of {self.root} is called "{name}"{suggestion(name, found)}')
        gone = {name: fingerprint(found[name].experiment) for name in names}
        self.history = dataclasses.replace(self.history, dropped={**self.history.dropped, **gone})
        self.study = without(self.experiment, self.study, gone.values())

    @classmethod
    def open(cls, root: str | Path, experiment: Experiment, study: Study) -> "Store":
        """Return the store of a study as `of` does, and make its folder. Raises as `of` and `save`."""
        store = cls.of(root, experiment, study)
        store.save()
        return store

    def save(self) -> None:
        """Make the folder and write study.json. Raises `UsageError` where that cannot be done."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            write_study(self.root / "study.json", self.experiment, self.study, self.history)
        except OSError as error:
            raise UsageError(f"cannot write to {self.root}: {error.strerror}; choose another --workdir") from error

    def _repr_html_(self) -> str:
        """Return how many trials of each cell have come how far, for a notebook."""
        counts: dict[str, collections.Counter[Status]] = {}
        for outcome in self.outcomes():
            counts.setdefault(outcome.name, collections.Counter())[outcome.status] += 1
        found = [status for status in get_args(Status) if any(count[status] for count in counts.values())]
        rows = [(name, *(str(count[status]) for status in found)) for name, count in counts.items()]
        return html_table(("trials", *found), rows) + html_lines((f"study in {self.root}",))

    @functools.cached_property
    def goal(self) -> Goal:
        """What is compared, and whether more is better."""
        return goal(self.experiment, self.study)

    @functools.cached_property
    def tunings(self) -> tuple[Tuning, ...]:
        """Each cell with its nuisance variants; () where nothing is tuned."""
        return nuisance_plan(self.experiment, self.study)

    @functools.cached_property
    def tuning_trials(self) -> tuple[Trial, ...]:
        """The trials that decide nuisance settings."""
        variants = [variant for tuning in self.tunings for variant in tuning.variants]
        return trials(variants, tuning_seeds(self.experiment, self.study))

    def cells(self) -> tuple[Cell, ...]:
        """Return what is compared, baseline first; () as long as a trial that decides a nuisance setting is missing."""
        if not self.tunings:
            return self._planned
        found = [self.outcome(trial, "tuning") for trial in self.tuning_trials]
        if any(outcome.status in ("planned", "running") for outcome in found):
            return ()
        scores: dict[int, list[float]] = {}
        for outcome in found:
            # One that diverged has metrics too, and where one class is common they may be the best of all.
            metrics = outcome.metrics.get("validation", {}) if outcome.status == "done" else {}
            scores.setdefault(outcome.cell, []).append(metrics.get(self.goal.metric, math.nan))
        return winners(self.tunings, scores, self.goal.maximize)

    def final_trials(self) -> tuple[Trial, ...]:
        """Return the trials that are compared; () as long as the cells are not decided."""
        return trials(self.cells(), final_seeds(self.experiment, self.study))

    @functools.cached_property
    def _planned(self) -> tuple[Cell, ...]:
        """The cells as the study states them."""
        return plan(self.experiment, self.study)

    @property
    def baselines(self) -> Path:
        """The folder of simple baselines."""
        return self.root / "baselines"

    def folder(self, trial: Trial) -> Path:
        """Return the run folder of a trial."""
        return self.root / "trials" / f"{fingerprint(trial.experiment)}-seed{trial.seed}"

    def outcomes(self) -> list[Outcome]:
        """Return what came of every trial, those that decide nuisance settings first."""
        tuning = [self.outcome(trial, "tuning") for trial in self.tuning_trials]
        return tuning + [self.outcome(trial, "final") for trial in self.final_trials()]

    def outcome(self, trial: Trial, phase: Phase) -> Outcome:
        """Return what came of a trial; one that runs and whose process is dead counts as planned."""
        # The number comes first: whoever claims the attempt after it knows that nothing happened since.
        attempt = attempts(self.folder(trial))
        outcome = dataclasses.replace(self.recorded(trial, phase), attempt=attempt)
        if outcome.status in ("planned", "running"):
            return dataclasses.replace(outcome, status="running" if is_claimed(outcome.folder) else "planned")
        return outcome

    def recorded(self, trial: Trial, phase: Phase) -> Outcome:
        """Return what the files of a trial say, whether or not a process works on it."""
        folder = Folder(self.folder(trial))
        status = self._read_status(folder.root / "status.json")
        outcome = Outcome(
            phase=phase,
            cell=trial.cell.index,
            name=trial.cell.name,
            tuned=trial.cell.tuned,
            seed=trial.seed,
            fingerprint=fingerprint(trial.experiment),
            folder=folder.root,
            **{"status": "planned", **status},
        )
        try:
            result = folder.read_result()
        except RunError as error:
            self._say(folder.result, str(error))
            return dataclasses.replace(outcome, status="failed", error=str(error))
        if result is None:
            return outcome
        return dataclasses.replace(
            outcome,
            status="diverged" if self._diverged(trial, result.metrics) else "done",
            error="",
            traceback="",
            metrics=result.metrics,
            seconds=result.seconds,
            parameters=result.parameters,
            device=result.device,
            versions=result.versions,
            commit=result.commit,
            code=read_code(folder),
        )

    def _read_status(self, file: Path) -> dict[str, Any]:
        """Return the content of status.json; nothing where it is missing or, as is said once, damaged."""
        try:
            status = json.loads(sealed.read(file))
            known = {name: status[name] for name in KNOWN & status.keys()}
            return {name: canonical(value, annotations(Outcome)[name], name) for name, value in known.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, RecursionError) as error:
            remedy = "how the trial was run is not known, and one without a result is run again"
            self._say(file, f"{file} is damaged: {error}; {remedy}")
            return {}

    def _say(self, file: Path, damage: str) -> None:
        """Warn of a damaged file, once: those who wait for a trial look at its files again and again."""
        if file not in self._damaged:
            self._damaged.add(file)
            log.warning(damage)

    @functools.cached_property
    def _damaged(self) -> set[Path]:
        """The files of which that was said."""
        return set()

    def watched(self, trial: Trial) -> set[str]:
        """Return the metrics without which a trial has diverged: the loss, the monitored one and that of the study."""
        return {"loss", trial.experiment.task.monitor, self.goal.metric}

    def _diverged(self, trial: Trial, metrics: dict[str, dict[str, float]]) -> bool:
        """Return whether one of these is not finite on a final split."""
        watched = self.watched(trial)
        return any(
            not math.isfinite(value) for values in metrics.values() for name, value in values.items() if name in watched
        )


def write_status(folder: Path, status: Status, **known: Any) -> None:
    """Write status.json; `known` are further fields of `Outcome`."""
    folder.mkdir(parents=True, exist_ok=True)
    sealed.write(folder / "status.json", json.dumps(finite({"status": status, **known}), indent=2) + "\n")


def check_unscreened(root: Path) -> None:
    """Raise `UsageError` where a folder holds a screening, of which no test may be made."""
    if (root / MARK).exists():
        raise UsageError(
            f"{root} holds a screening, whose cells were pruned by their scores, so nothing in it can be tested: "
            "give the cells worth it a study of their own, in another --workdir"
        )


def check_testable(root: Path) -> None:
    """Raise `UsageError` where a folder holds a screening or a search, whose scores decided what is in it."""
    check_unscreened(root)
    if (root / SEARCH).exists():
        raise UsageError(
            f"{root} holds a search, which picked its settings by the very scores that a test would use, so nothing in "
            "it can be tested: search.csv has the scores; give the best setting a study, in another --workdir"
        )
