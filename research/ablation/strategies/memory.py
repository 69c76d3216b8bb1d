"""What an Optuna study remembers of a search: which settings were asked for, and what came of them."""

import contextlib
import dataclasses
import logging
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from research.ablation.design.axes import Overrides
from research.ablation.design.parsing import Space, check_space
from research.ablation.design.space import TOP
from research.ablation.design.study import TUNING, Study, applied
from research.ablation.execution.waiting import PAUSES
from research.ablation.store.claims import Claims
from research.ablation.store.study_folder import SEARCH, Store
from research.ablation.strategies.sealed_log import SealedLog
from research.errors import UsageError
from research.experiment import Experiment, fingerprint, replace
from research.training import Interrupted


@dataclasses.dataclass(frozen=True)
class Tried:
    """A setting that was tried: `value` is its mean over seeds on validation, NaN where a run failed or diverged."""

    number: int
    """Of the trial, from 0; -1 is the baseline."""
    setting: Overrides
    value: float


@dataclasses.dataclass(frozen=True)
class Found:
    """What a search came to."""

    metric: str
    baseline: Tried
    tried: tuple[Tried, ...]
    """In the order in which they were asked for."""
    best: Tried | None
    """None where no setting came to a finite value."""


class Memory:
    """What a search has asked and was told: an Optuna study in optuna.jsonl.

    Args:
        experiment: what is varied, with the seed of a study; `Memory.experiment` has the first one for tuning.
        study: seeds and metric.
        space, root, sampler_seed: as of `search`.

    Raises:
        UsageError: as `search`.
        RunError: that file is damaged.
    """

    def __init__(self, experiment: Experiment, study: Study, space: Space, root: Path, sampler_seed: int = 0) -> None:
        try:
            import optuna
            from optuna.storages.journal import JournalFileBackend, JournalStorage
        except ImportError:
            raise UsageError('a search needs optuna: pip install "ceteris-research[tune]"') from None
        self.experiment, self.root = replace(experiment, {"seed": experiment.seed + TUNING}), root
        check_space(self.experiment, space)
        self._optuna, self._plain, self._space, self._seed = optuna, study, space, sampler_seed
        optuna.logging.set_verbosity(logging.WARNING)
        self._maximize = Store.of(root, self.experiment, study).goal.maximize
        if (root / "study.json").exists() and not (root / "optuna.jsonl").exists():
            raise UsageError(f"{root} holds a study that is no search: choose another --workdir")
        try:
            root.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(f"cannot write to {root}: {error.strerror}; choose another --workdir") from error
        backend: Any = SealedLog(JournalFileBackend(str(root / SEARCH)), root / SEARCH)
        self._study = optuna.create_study(
            storage=JournalStorage(backend),
            study_name="search",
            direction="maximize" if self._maximize else "minimize",
            load_if_exists=True,
        )
        identity = {"sampler seed": sampler_seed, "seeds": study.seeds, "space": probes(space)}
        held = self._study.user_attrs.get("identity", identity)
        if differing := [name for name in identity if held[name] != identity[name]]:
            raise UsageError(
                f"{root} holds a search with another {' and another '.join(differing)}: choose another --workdir"
            )
        self._study.set_user_attr("identity", identity)

    def next_batch(self, claims: Claims, trials: int, batch: int, interrupted: Callable[[], bool]) -> bool:
        """Ask for what a batch lacks, unless there are results to be told; return whether there is anything to do."""
        while (claim := claims.acquire(self.root / "asking")) is None:
            pause(self.root, interrupted)
        try:
            for torn in self._in_state("RUNNING"):
                if not self._is_whole(torn):  # asked for by a process that was killed while it asked
                    self._study.tell(torn.number, state=self._optuna.trial.TrialState.FAIL)
            asked, pending = len(self._asked()), len(self._in_state("RUNNING"))
            lacking = -asked % batch if pending else batch
            for _ in range(min(lacking, trials - asked)):
                self._ask()
        finally:
            claims.release(claim, "asked")
        return bool(self._in_state("RUNNING"))

    def _ask(self) -> None:
        """Ask for one setting; a function of the results so far, as every trial has a sampler of its own."""
        number = len(self._study.get_trials(deepcopy=False))
        seed = int(np.random.SeedSequence([self._seed, number]).generate_state(1)[0])
        unit = self._optuna.distributions.FloatDistribution(0.0, TOP)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", self._optuna.exceptions.ExperimentalWarning)
            self._study.sampler = self._optuna.samplers.TPESampler(seed=seed, constant_liar=True)
            self._study.ask(dict.fromkeys(sorted(self._space), unit))  # however the space is ordered

    def tell(self, store: Store) -> None:
        """Tell the results of what was asked for; another process may have done so."""
        values = scores(store)
        for trial in filter(self._is_whole, self._in_state("RUNNING")):  # others are being asked for at this moment
            value = values.get(self._fingerprint(self._setting(trial)))
            if value is None:  # of the next batch: another process told all of this one, and moved on
                continue
            ended = {"values": value} if math.isfinite(value) else {"state": self._optuna.trial.TrialState.FAIL}
            with contextlib.suppress(self._optuna.exceptions.UpdateFinishedTrialError):  # told at this very moment
                self._study.tell(trial.number, **ended, skip_if_finished=True)

    def study(self) -> Study:
        """Return the study of every setting that was asked for."""
        return dataclasses.replace(self._plain, cells=tuple(self._setting(trial) for trial in self._asked()))

    def found(self) -> Found:
        """Return what the search came to so far."""
        store = Store.of(self.root, self.experiment, self.study())
        values = scores(store)
        tried = []
        for number, trial in enumerate(self._asked()):
            setting = self._setting(trial)
            tried.append(Tried(number, setting, values.get(self._fingerprint(setting), math.nan)))
        sign = 1 if self._maximize else -1
        best = max(
            (item for item in tried if math.isfinite(item.value)), key=lambda item: sign * item.value, default=None
        )
        baseline = Tried(-1, Overrides(), values[fingerprint(self.experiment)])
        return Found(store.goal.metric, baseline, tuple(tried), best)

    def _asked(self) -> list[Any]:
        """Return the trials that have a whole setting."""
        return list(filter(self._is_whole, self._study.get_trials(deepcopy=False)))

    def _is_whole(self, trial: Any) -> bool:
        """Return whether a trial has a whole setting."""
        return trial.params.keys() == self._space.keys()

    def _in_state(self, name: str) -> list[Any]:
        """Return the trials in a state of Optuna's."""
        return self._study.get_trials(deepcopy=False, states=(self._optuna.trial.TrialState[name],))

    def _setting(self, trial: Any) -> Overrides:
        """Return the overrides of a trial."""
        return Overrides({path: quantile(trial.params[path]) for path, quantile in self._space.items()})

    def _fingerprint(self, setting: Overrides) -> str:
        """Return the fingerprint of a setting's experiment."""
        return fingerprint(applied(self.experiment, setting, "search"))


def probes(space: Space) -> dict[str, list[str]]:
    """Return what tells one space from another in JSON: each distribution at a few points."""
    return {path: [repr(quantile(u)) for u in (0.0, 0.3, 0.6, TOP)] for path, quantile in space.items()}


def pause(root: Path, interrupted: Callable[[], bool]) -> None:
    """Let another process work. Raises `Interrupted` after a signal."""
    if interrupted():
        raise Interrupted(f"stopped the search in {root}; the same command resumes")
    time.sleep(PAUSES[0])


def scores(store: Store) -> dict[str, float]:
    """Return {fingerprint: mean over seeds on validation}; NaN where a run failed or diverged."""
    values: dict[str, list[float]] = {}
    for outcome in store.outcomes():
        value = outcome.metrics["validation"][store.goal.metric] if outcome.status == "done" else math.nan
        values.setdefault(outcome.fingerprint, []).append(value)
    return {name: math.fsum(found) / len(found) for name, found in values.items()}
