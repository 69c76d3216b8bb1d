"""The command `ablate`: a study that the module names or the command line spells out, or a screening or a search."""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path

from research.ablation.design.parsing import parse_axes
from research.ablation.design.study import Study, goal
from research.ablation.execution.dry_run import describe_plan
from research.ablation.execution.engines.workers import fitting
from research.ablation.execution.readiness import prepared
from research.ablation.execution.simple import judge_baselines
from research.ablation.execution.waiting import stopped
from research.ablation.store.recording import named
from research.ablation.store.study_folder import Store, check_testable
from research.ablation.strategies.sequential import ablate_until_resolved, looking
from research.baselines import Baseline
from research.cli.runs import judgement_line
from research.cli.studies.flags import Ablate, check_flags
from research.cli.studies.reporting import present
from research.cli.studies.screening import run_screening
from research.cli.studies.searching import run_search
from research.cli.studies.sharing import share
from research.devices.cpu.cores import divided, kept_to
from research.errors import RunError, UsageError, suggestion
from research.experiment import Placement, fingerprint
from research.training import Interrupted


def ablate(
    arguments: Ablate, studies: Mapping[str, Study], baselines: Mapping[str, Baseline], name: str, as_typed: bool
) -> None:
    """Run a study, a screening or a search with the workers asked for, and show what came of it.

    Unless the command is `as_typed`, a process of its own, no workers are started without being asked for.
    """
    check_flags(arguments)
    if arguments.search is not None:
        run_search(arguments, name)
    elif arguments.screen is not None:
        run_screening(arguments, *chosen(arguments, studies), name)
    else:
        run_study(arguments, *chosen(arguments, studies), baselines if arguments.baselines else {}, name, as_typed)


def chosen(arguments: Ablate, studies: Mapping[str, Study]) -> tuple[str, Study]:
    """Return the study that the arguments name or spell out, and what to call it."""
    if arguments.axis:
        if arguments.study is not None:
            raise UsageError("--study names a study and --axis spells one out: give one of them")
        title, study = "axes", Study(parse_axes(arguments.experiment, arguments.axis, arguments.grid))
        cells = json.dumps([sorted((path, repr(value)) for path, value in cell.items()) for cell in study.cells])
        title = f"axes-{hashlib.sha256(cells.encode()).hexdigest()[:6]}"
    elif arguments.study is not None:
        if arguments.study not in studies:
            hint = suggestion(arguments.study, studies) if studies else ": this module has none, use --axis"
            raise UsageError(f'there is no study "{arguments.study}"{hint}')
        title, study = arguments.study, studies[arguments.study]
    elif len(studies) == 1:
        ((title, study),) = studies.items()
    else:
        names = f"--study {' or '.join(studies)}, or " if studies else ""
        raise UsageError(f"say what to vary: {names}--axis PATH=VALUE,VALUE")
    fields = ("seeds", "metric", "maximize", "alpha", "margin", "title")
    given = {field: value for field in fields if (value := getattr(arguments, field)) is not None}
    if given.get("metric", study.metric) != study.metric:
        study = dataclasses.replace(study, maximize=None, margin=None)  # which were of another metric
    study = dataclasses.replace(study, **given)
    goal(arguments.experiment, study)
    return title, study


def run_study(
    arguments: Ablate, title: str, study: Study, baselines: Mapping[str, Baseline], name: str, as_typed: bool
) -> None:
    """Run a study, fit the baselines, write its report and show it."""
    experiment, options = arguments.experiment, arguments.options
    workdir = Path(arguments.workdir or Path("runs") / name / f"{title}-{fingerprint(experiment)}")
    check_testable(workdir)
    held = Store(workdir, named(experiment, study)).study if (workdir / "study.json").exists() else study
    study = dataclasses.replace(study, title=study.title or held.title or f"{name}: {title}")
    if arguments.more_seeds is not None:
        study = dataclasses.replace(study, seeds=held.seeds + (0 if arguments.worker else arguments.more_seeds))
    if arguments.workers is None and arguments.engine == "local" and as_typed and options.placement == Placement():
        left = [outcome for outcome in Store.of(workdir, experiment, study).outcomes() if not outcome.finished]
        arguments = dataclasses.replace(arguments, workers=fitting(len(left)))
    workers = arguments.workers or 1
    if arguments.dry_run:
        timed = sys.maxsize if arguments.measure else 1
        with kept_to(divided(workers)[0]):
            print(describe_plan(experiment, study, workdir, options, timed, workers))
        return
    most = study.seeds if arguments.until_resolved is None else arguments.until_resolved
    study = looking(study, most)
    again, accept = "changed" in arguments.retry, options.accept_code_change
    prepared(workdir, experiment, study, arguments.drop, again, accept)  # workers find what is planned now

    def work() -> None:
        """Run what is missing."""
        ablate_until_resolved(
            experiment,
            study,
            most,
            workdir,
            options,
            arguments.execution,
            retry=arguments.retry,
            fail_fast=arguments.fail_fast,
            workers=workers,
            wait=workers > 1 or not arguments.worker,
        )

    try:
        if not share(arguments, workdir, work):
            return
    except Interrupted:
        raise stopped(Store.of(workdir, experiment, study)) from None  # now that no worker is left
    store = Store.of(workdir, experiment, study)
    for judgement in judge_baselines(store, baselines, options.data_dir):
        if judgement.error:
            print(judgement_line(judgement))
    try:
        present([store])
    finally:  # a command whose output nobody reads has its exit code all the same
        check_complete(store)


def check_complete(store: Store) -> None:
    """Raise `RunError` where a trial of a study failed, diverged or is missing."""
    outcomes = store.outcomes()
    if lost := [outcome for outcome in outcomes if outcome.status in ("failed", "diverged")]:
        first = lost[0]
        why = f": {first.error}" if first.error else ""
        raise RunError(
            f"{len(lost)} of {len(outcomes)} trials failed or diverged, first {first.name} with seed "
            f"{first.seed}{why}; --retry failed diverged runs them again"
        )
    if missing := [outcome for outcome in outcomes if outcome.status in ("planned", "running")]:
        first, count = missing[0], f"{len(missing)} of {len(outcomes)}"
        raise RunError(
            f"{count} trials are missing, first {first.name} with seed {first.seed}: the same command runs them"
        )
