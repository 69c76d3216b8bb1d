"""What running a study would mean, before anything runs."""

from collections.abc import Generator, Iterator
from pathlib import Path

from research.ablation.design.groups import TrialGroup, groups
from research.ablation.design.study import Study, Trial, check, final_seeds
from research.ablation.design.tuning import tuning_seeds
from research.ablation.execution.modes.choosing import Choice, choice_file, read_choice
from research.ablation.execution.modes.measuring import Measurement, measure
from research.ablation.execution.progress import summary
from research.ablation.store.study_folder import Outcome, Phase, Store
from research.errors import RunError, UsageError
from research.experiment import Experiment, RunOptions, fingerprint
from research.training.loop import open_splits


def describe_plan(
    experiment: Experiment,
    study: Study,
    workdir: str | Path,
    options: RunOptions | None = None,
    timed: int = 0,
    workers: int = 1,
) -> str:
    """Return cells, seeds, programs, what is done already, time and memory of a study; writes nothing.

    Time comes from the trials of the same program that are finished in the folder; of the first `timed` programs that
    have none, from a few real steps, for which they are compiled. What is not known is said to be so. `workers`
    processes share the work.

    Raises:
        UsageError: the study does not fit, or the folder holds another one.
    """
    store = Store.of(workdir, experiment, study)
    return "\n".join(_lines(store, options or RunOptions(), timed, workers))


def _lines(store: Store, options: RunOptions, timed: int, workers: int) -> Iterator[str]:
    """Yield the plan line by line."""
    metric, maximize = store.goal
    left = timed
    yield f"{metric} on {store.study.split}, {'more' if maximize else 'less'} is better"
    if store.tunings:
        variants = [variant for tuning in store.tunings for variant in tuning.variants]
        check(variants)
        seeds = tuning_seeds(store.experiment, store.study)
        yield f"{len(variants)} settings of {len(store.tunings)} cells to tune on seeds {seeds[0]} to {seeds[-1]}"
        left -= yield from _programs(store, store.tuning_trials, "tuning", options, left, workers)
    cells = store.cells()
    seeds = final_seeds(store.experiment, store.study)
    if not cells:
        names = [tuning.cell.name for tuning in store.tunings]
        yield f"{len(names)} cells on seeds {seeds[0]} to {seeds[-1]}, when they are tuned: {', '.join(names)}"
        yield "time and memory of these are not known before"
        return
    check(cells)
    yield f"{len(cells)} cells on seeds {seeds[0]} to {seeds[-1]}"
    width = max(len(cell.name) for cell in cells)
    for cell in cells:
        also = f"  also {', '.join(cell.aliases)}" if cell.aliases else ""
        yield f"  {cell.name:<{width}}  {fingerprint(cell.experiment)}  {cell.tuned}{also}".rstrip()
    yield from _programs(store, store.final_trials(), "final", options, left, workers)


def _programs(
    store: Store, trials: tuple[Trial, ...], phase: Phase, options: RunOptions, timed: int, workers: int
) -> Generator[str, None, int]:
    """Yield what is done and what each program takes; return how many programs were timed."""
    found = {id(trial): store.outcome(trial, phase) for trial in trials}
    yield summary(list(found.values()))
    programs = groups(trials)
    yield f"{len(programs)} programs to compile" if len(programs) > 1 else "1 program to compile"
    total, unknown, compiled = 0.0, 0, 0
    for group in programs:
        outcomes = [found[id(trial)] for trial in group.trials]
        left = sum(outcome.status == "planned" for outcome in outcomes)
        choice = _choice(store, group)
        unmeasured = left > 0 and choice is None and not any(outcome.finished for outcome in outcomes)
        measured = _measured(group, choice, options, unmeasured and compiled < timed)
        compiled += unmeasured and compiled < timed
        each = _seconds(group, outcomes, measured)
        if left and each is None:
            unknown += left
        elif left and each is not None:
            total += left * each
        basis = "" if each is None or any(outcome.finished for outcome in outcomes) else ", counting steps alone"
        way = f"{choice.mode}, {choice.size} at a time" if choice else "way not chosen yet"
        yield (
            f"  {group.name}  {group.steps:,} steps, {left} of {len(outcomes)} trials left, "
            f"{_duration(each)} a trial{basis}, {_memory(measured)}, {way}: {', '.join(group.cells)}"
        )
    also = f" and {unknown} trials of unknown time" if unknown else ""
    shared = f", shared by {workers} processes" if workers > 1 else ""
    yield f"time left: about {_duration(total / workers)}{also}{shared}"
    return compiled


def _choice(store: Store, group: TrialGroup) -> Choice | None:
    """Return how a group is run, where that is decided."""
    file = choice_file(store.root, group.name)
    return read_choice(file) if file.exists() else None


def _measured(group: TrialGroup, choice: Choice | None, options: RunOptions, timed: bool) -> Measurement | None:
    """Return what was measured of a group as it is run, measuring a loop where nothing was and it is asked for."""
    if choice is not None:
        for measurement in choice.measurements:
            if choice.chose(measurement):
                return measurement
    if not timed:
        return None
    experiment = group.trials[0].experiment
    try:
        return measure([experiment], open_splits(experiment, options), options, "loop", 1)
    except (UsageError, RunError):
        raise
    except Exception as error:  # whatever the back end raises on a program that it cannot run
        return Measurement("loop", 1, error=f"{type(error).__name__}: {error}".splitlines()[0])


def _seconds(group: TrialGroup, outcomes: list[Outcome], measured: Measurement | None) -> float | None:
    """Return the seconds of one trial: the mean of those finished, else of its steps alone."""
    finished = [outcome.seconds["total"] for outcome in outcomes if outcome.finished]
    if finished:
        return sum(finished) / len(finished)
    if measured is None or measured.step_seconds is None:
        return None
    return measured.step_seconds * group.steps


def _memory(measured: Measurement | None) -> str:
    """Return the memory of a step in words."""
    if measured is None or measured.bytes is None:
        return "memory not known"
    return f"{measured.bytes / 2**20:,.1f} MiB a step"


def _duration(seconds: float | None) -> str:
    """Return seconds in the unit that suits."""
    if seconds is None:
        return "unknown time"
    if seconds < 120:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
