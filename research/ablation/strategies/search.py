"""Searches with a sampler that learns (Optuna): ask for a batch of settings, run it as cells of a study, tell.

found = search(experiment, {"optimizer.learning_rate": log_uniform(1e-4, 1e-1)}, "runs/search", trials=32, batch=8)
found.best.setting  # {"optimizer.learning_rate": 0.0123}

A search picks the setting that does best on validation, so the winner's score is optimistic. What it is worth is for
fresh seeds to say: a search trains on the seeds for tuning, none of which is ever a seed of a study. To compare cells
each at its own best setting, use `Study(nuisance=...)`, which tunes every cell alike and tests on fresh seeds.
"""

import contextlib
import csv
import dataclasses
import io
import logging
import math
import re
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from research.ablation.design.axes import Overrides
from research.ablation.design.parsing import parse_axis
from research.ablation.design.space import Quantile, choice, integers, log_uniform, uniform
from research.ablation.design.study import TUNING, Study, applied
from research.ablation.execution.choosing import Execution
from research.ablation.execution.running import ablate
from research.ablation.execution.waiting import PAUSES
from research.ablation.store.claims import Claims
from research.ablation.store.study_folder import Outcome, Store
from research.errors import RunError, UsageError, suggestion
from research.experiment import Experiment, RunOptions, fingerprint, replace
from research.training import Interrupted
from research.training.faults.guard import interruptible
from research.training.storage.folder import write

Space = Mapping[str, Quantile]

TOP = math.nextafter(1.0, 0.0)  # quantiles take numbers below 1
NUMBERS: dict[str, Callable[..., Quantile]] = {"uniform": uniform, "log_uniform": log_uniform, "integers": integers}


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


def search(
    experiment: Experiment,
    space: Space,
    workdir: str | Path,
    trials: int = 32,
    batch: int = 8,
    options: RunOptions | None = None,
    execution: Execution = "auto",
    *,
    seeds: int = 3,
    sampler_seed: int = 0,
    metric: str | None = None,
    maximize: bool | None = None,
    workers: int = 1,
) -> Found:
    """Search a space for the setting that does best on validation; search.csv has every trial.

    Settings of a batch run as the cells of a study, so those of one program train together, and nothing that is
    finished is run again: the same call goes on, with more trials if so asked. Several processes with the same folder
    share a batch. The next one depends on nothing but the space, `sampler_seed` and the results so far.

    Args:
        experiment: what is varied; it is run as it stands too, as the baseline.
        space: {path: distribution} of `research.ablation.design.space`; all values of it must fit together. The sampler
            (TPE, Bergstra et al., "Algorithms for hyper-parameter optimization", 2011; with a constant liar, so that a
            batch spreads) works on the numbers in [0, 1) that the distributions map from: on the logarithm of what is
            log-uniform, and on the position of a choice.
        workdir: a folder of its own.
        trials: settings in all.
        batch: settings that are asked for before the results of any is told.
        options, execution: as for `ablate`.
        seeds: runs of each setting.
        sampler_seed: of the sampler.
        metric, maximize: as in `Study`; default: what the task monitors.
        workers: as for `ablate`.

    Raises:
        UsageError: Optuna is not installed, the space does not fit, or the folder holds another search.
        Interrupted: stopped early; the same call goes on.
        RunError: a trial's folder cannot be written.
    """
    if trials < 1 or batch < 1:
        raise UsageError(f"a search needs at least one trial and a batch of at least one, not {trials} and {batch}")
    study = Study(seeds=seeds, metric=metric, maximize=maximize, split="validation")
    memory = Memory(experiment, study, space, Path(workdir), sampler_seed)
    with Claims() as claims, interruptible() as interrupted:
        while memory.next_batch(claims, trials, batch, interrupted):
            memory.tell(complete(memory, options, execution, interrupted, workers))
            write(memory.root / "search.csv", as_csv(memory.found(), space))
    return memory.found()


def complete(
    memory: "Memory", options: RunOptions | None, execution: Execution, interrupted: Callable[[], bool], workers: int
) -> Store:
    """Run what was asked for until every trial has ended, at other processes too. Raises as `search`."""
    before: list[Outcome] = []
    while True:
        store = ablate(memory.experiment, memory.study(), memory.root, options, execution, workers=workers)
        left = [outcome for outcome in store.outcomes() if outcome.status in ("planned", "running")]
        if not left:
            return store
        if left == before and not any(outcome.status == "running" for outcome in left):
            raise RunError(f"{left[0].folder} could not be trained; see the warnings above")
        before = left
        pause(memory.root, interrupted)


def pause(root: Path, interrupted: Callable[[], bool]) -> None:
    """Let another process work. Raises `Interrupted` after a signal."""
    if interrupted():
        raise Interrupted(f"stopped the search in {root}; the same command goes on")
    time.sleep(PAUSES[0])


class Memory:
    """What a search has asked and was told: an Optuna study in optuna.jsonl.

    Args:
        experiment: what is varied, with the seed of a study; `Memory.experiment` has the first one for tuning.
        study: seeds and metric.
        space, root, sampler_seed: as of `search`.

    Raises:
        UsageError: as `search`.
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
        backend = JournalFileBackend(str(root / "optuna.jsonl"))
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
            if value is None:  # of the next batch: another process told all of this one, and went on
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


def check_space(experiment: Experiment, space: Space) -> None:
    """Raise `UsageError` unless the least and the greatest values of a space fit the experiment."""
    if not space:
        raise UsageError("a search needs a space: at least one path and its distribution")
    for path, quantile in space.items():
        if not callable(quantile):
            raise UsageError(f"{path} needs uniform, log_uniform, integers or choice, not {quantile!r}")
    for u in (0.0, TOP):
        applied(experiment, {path: quantile(u) for path, quantile in space.items()}, "search")


def scores(store: Store) -> dict[str, float]:
    """Return {fingerprint: mean over seeds on validation}; NaN where a run failed or diverged."""
    values: dict[str, list[float]] = {}
    for outcome in store.outcomes():
        value = outcome.metrics["validation"][store.goal.metric] if outcome.status == "done" else math.nan
        values.setdefault(outcome.fingerprint, []).append(value)
    return {name: math.fsum(found) / len(found) for name, found in values.items()}


def as_csv(found: Found, space: Space) -> str:
    """Return every trial as CSV, one row each, the baseline first."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("trial", f"validation {found.metric}", *space))
    for item in (found.baseline, *found.tried):
        number = "baseline" if item.number < 0 else item.number
        writer.writerow((number, item.value, *(item.setting.get(path, "") for path in space)))
    return text.getvalue()


def parse_space(experiment: Experiment, texts: Iterable[str]) -> dict[str, Quantile]:
    """Return the space of texts such as ``optimizer.learning_rate=log_uniform(1e-4,1e-1)``.

    Distributions: uniform(LOW,HIGH), log_uniform(LOW,HIGH), integers(LOW,HIGH), choice(VALUE,VALUE,...).

    Raises:
        UsageError: a text has another form, or does not fit; names it.
    """
    space: dict[str, Quantile] = {}
    for text in texts:
        path, _, distribution = (part.strip() for part in text.partition("="))
        form = re.fullmatch(r"(\w+)\((.*)\)", distribution)
        if not path or form is None:
            raise UsageError(f'a space is path=log_uniform(low,high) or the like, not "{text}"')
        if path in space:
            raise UsageError(f"the space of {path} is given twice")
        try:
            space[path] = _distribution(experiment, path, *form.groups())
        except UsageError as error:
            raise type(error)(f"space {text}: {error}") from error
    check_space(experiment, space)
    return space


def _distribution(experiment: Experiment, path: str, kind: str, inner: str) -> Quantile:
    """Return the distribution that a text names."""
    if kind == "choice":
        return choice([overrides[path] for overrides in parse_axis(experiment, f"{path}={inner}")])
    if kind not in NUMBERS:
        raise UsageError(f'there is no distribution "{kind}"{suggestion(kind, (*NUMBERS, "choice"))}')
    try:
        low, high = ((int if kind == "integers" else float)(word) for word in inner.split(","))
    except ValueError:
        raise UsageError(f"{kind} takes two numbers, not ({inner})") from None
    return NUMBERS[kind](low, high)
