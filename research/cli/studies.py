"""The commands of a study: ablate, report, power, verify."""

import contextlib
import dataclasses
import hashlib
import json
import math
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console
from rich.table import Table as Screen

from research.ablation import ray_engine, slurm_engine
from research.ablation.choosing import Execution
from research.ablation.execution import stopped
from research.ablation.halving import Rungs, open_screening, screen, standings
from research.ablation.parsing import parse_axes
from research.ablation.planning import describe_plan
from research.ablation.search import Memory, Tried, parse_space, search
from research.ablation.sequential import ablate_until_resolved, looks
from research.ablation.store import Store, check_unscreened
from research.ablation.study import Study, goal
from research.ablation.workers import command, fitting, processes, settings
from research.cli.runs import Flat
from research.devices.cpu import divided, kept_to
from research.errors import RunError, UsageError, suggestion
from research.experiment import Experiment, Placement, RunOptions, classes, fingerprint
from research.fields import Positive, Range, Size, validate
from research.training import Interrupted
from research.training.guard import interruptible

SHOWN = ("variant", "n", "mean", "Δ", "95 % of Δ", "p (Holm)", "verdict")  # columns on the terminal


@dataclasses.dataclass(frozen=True)
class Ablate:
    """Run a study: what is missing of it and nothing else, with a line a trial; then write its report."""

    experiment: Annotated[Experiment, Flat]
    options: Annotated[RunOptions, Flat]
    study: str | None = None
    """Study of this module; default: the only one, unless --axis says what to vary."""
    axis: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """PATH=VALUE,VALUE,... such as model.dropout=0,0.1; given again, a further axis."""
    grid: bool = False
    """Cross the axes, rather than change one thing at a time."""
    seeds: Size | None = None
    """Seeds of every cell; default: the study's."""
    more_seeds: Size | None = None
    """Seeds to add to those that the folder has."""
    until_resolved: Size | None = None
    """Add seeds until no cell is open, to this many at most; the correction for looking again is in the report."""
    metric: str | None = None
    """Metric to compare; default: the study's, or the one that the task watches."""
    workdir: str | None = None
    """Folder of the study; default: runs/NAME/STUDY-FINGERPRINT."""
    execution: Execution = "auto"
    """How trials of one program run: one after another, together, or as measured to be fastest."""
    workers: Size | None = None
    """Processes that share the work, each with its part of the cores; default: one for each core, up to 8, of a machine
    that has nothing but a CPU, else one."""
    engine: Literal["local", "slurm", "ray"] = "local"
    """Where they run: on this machine, as Slurm jobs, or on a Ray cluster; this one then only waits and reports."""
    slurm: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """KEY=VALUE of a job, such as timeout_min=120 (60 unless given), partition=gpu, gpus_per_node=1, cluster=local."""
    detach: bool = False
    """Submit the Slurm jobs and exit."""
    address: str | None = None
    """Of the Ray cluster; default: RAY_ADDRESS, else the one on this machine."""
    ray: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """KEY=VALUE of a Ray task, such as num_gpus=1."""
    worker: bool = False
    """Share the work of the same command, run elsewhere: add no seeds, start no workers, report nothing."""
    search: Literal["optuna"] | None = None
    """Search --space for the setting that does best on validation, instead of running a study."""
    space: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """PATH=log_uniform(LOW,HIGH), uniform(LOW,HIGH), integers(LOW,HIGH) or choice(VALUE,VALUE); given again, a further
    path."""
    trials: Size = 32
    """Settings to search through."""
    batch: Size = 8
    """Settings that are asked for at once."""
    screen: str | None = None
    """STEPS,STEPS,... at which to stop the cells that do worst on validation (successive halving); tests nothing."""
    keep_share: Annotated[float, Range(0.0, 1.0, open_end=True, open_start=True)] = 1 / 3
    """Share of the cells that goes on from each of these steps, besides the baseline."""
    retry: tuple[Literal["failed", "diverged"], ...] = ()
    """Run such trials again."""
    fail_fast: bool = False
    """Begin nothing after a failure."""
    dry_run: bool = False
    """Print cells, seeds, programs, what is done, time and memory; run nothing but a few steps to measure."""
    smoke: bool = False
    """Vary the small variant."""

    def __post_init__(self) -> None:
        validate(self)


@dataclasses.dataclass(frozen=True)
class Report:
    """Write the report of a study as Markdown, CSV, LaTeX, HTML and PNG, and show its table."""

    workdir: tuple[str, ...]
    """Folder of the study; several for one table of several studies."""
    output: str | None = None
    """Folder to write to; default: the study's, or report/ for several."""
    test: Literal["t", "permutation"] = "t"
    """Which p decides: the paired t test's, or the sign-flip permutation test's."""


@dataclasses.dataclass(frozen=True)
class Power:
    """Say how many seeds it takes to see a difference of a given size, judged by the baseline's seeds so far."""

    workdir: str
    """Folder of the study."""
    effect: Positive
    """Smallest mean difference worth finding, in units of the metric."""
    target: Annotated[float, tyro.conf.arg(metavar="FLOAT")] = 0.8
    """Chance of finding it."""


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


def ablate(arguments: Ablate, studies: Mapping[str, Study], name: str, as_typed: bool) -> None:
    """Run a study, a screening or a search with the workers asked for, and show what came of it.

    Unless the command is `as_typed`, a process of its own, no workers are started without being asked for.
    """
    for flag, needed, fits in (
        ("slurm", "--engine slurm", arguments.engine == "slurm"),
        ("detach", "--engine slurm", arguments.engine == "slurm"),
        ("ray", "--engine ray", arguments.engine == "ray"),
        ("address", "--engine ray", arguments.engine == "ray"),
        ("space", "--search optuna", arguments.search is not None),
    ):
        if getattr(arguments, flag) and not fits:
            raise UsageError(f"--{flag} goes with {needed}")
    if arguments.options.chaos is not None:
        raise UsageError("chaos is for train: the trials of a study are not started again after a fault")
    if arguments.search is not None:
        run_search(arguments, name)
    elif arguments.screen is not None:
        run_screening(arguments, *chosen(arguments, studies), name)
    else:
        run_study(arguments, *chosen(arguments, studies), name, as_typed)


def run_study(arguments: Ablate, title: str, study: Study, name: str, as_typed: bool) -> None:
    """Run a study, write its report and show it."""
    experiment, options = arguments.experiment, arguments.options
    workdir = Path(arguments.workdir or Path("runs") / name / f"{title}-{fingerprint(experiment)}")
    check_unscreened(workdir)
    if arguments.more_seeds is not None:
        held = Store(workdir, classes(experiment)).study.seeds if (workdir / "study.json").exists() else study.seeds
        study = dataclasses.replace(study, seeds=held + (0 if arguments.worker else arguments.more_seeds))
    if arguments.workers is None and arguments.engine == "local" and as_typed and options.placement == Placement():
        left = [outcome for outcome in Store.of(workdir, experiment, study).outcomes() if not outcome.finished]
        arguments = dataclasses.replace(arguments, workers=fitting(len(left)))
    workers = arguments.workers or 1
    if arguments.dry_run:
        with kept_to(divided(workers)[0]):
            print(describe_plan(experiment, study, workdir, options, timed=True, workers=workers))
        return
    most = study.seeds if arguments.until_resolved is None else arguments.until_resolved
    looks(study.seeds, most)
    Store.open(workdir, experiment, study)  # workers find the seeds that are added now
    remark = ""

    def work() -> None:
        """Run what is missing."""
        nonlocal remark
        _, remark = ablate_until_resolved(
            experiment,
            study,
            most,
            workdir,
            options,
            arguments.execution,
            retry=arguments.retry,
            fail_fast=arguments.fail_fast,
            workers=workers,
            wait=workers > 1,
        )

    try:
        if not share(arguments, workdir, work):
            return
    except Interrupted:
        raise stopped(Store.of(workdir, experiment, study)) from None  # now that no worker is left
    store = Store.of(workdir, experiment, study)
    present(store, title, workdir, remark)
    outcomes = store.outcomes()
    if lost := [outcome for outcome in outcomes if outcome.status in ("failed", "diverged")]:
        first = lost[0]
        why = f": {first.error}" if first.error else ""
        raise RunError(
            f"{len(lost)} of {len(outcomes)} trials failed or diverged, first {first.name} with seed "
            f"{first.seed}{why}; --retry failed diverged runs them again"
        )


def run_screening(arguments: Ablate, title: str, study: Study, name: str) -> None:
    """Screen the cells of a study and show how they stand."""
    refuse(arguments, "--screen", "dry_run", "more_seeds", "until_resolved", "retry", "fail_fast")
    experiment, options = arguments.experiment, arguments.options
    try:
        steps = tuple(int(word) for word in (arguments.screen or "").split(","))
    except ValueError:
        raise UsageError(f'--screen takes steps such as 100,300, not "{arguments.screen}"') from None
    rungs = Rungs(steps, arguments.keep_share)
    workdir = Path(arguments.workdir or Path("runs") / name / f"{title}-screening-{fingerprint(experiment)}")
    store = open_screening(experiment, study, workdir, rungs, options)

    def work() -> None:
        """Run what is missing."""
        screen(experiment, study, workdir, rungs, options, arguments.execution, arguments.workers or 1)

    if not share(arguments, workdir, work):
        return
    table = Screen("variant", "status", "step", store.goal.metric, box=None, header_style="bold", padding=(0, 1))
    for standing in standings(store):
        value = f"{standing.value:.4f}" if math.isfinite(standing.value) else ""
        table.add_row(standing.cell.name, standing.status, str(standing.step), value)
    console().print(table)
    print("The scores are means on validation, by which the cells were picked: no test may be made of them. Test those")
    print("worth it in a study of their own, whose seeds are fresh.")
    print(f"look at:\n  {workdir / 'screening.csv'}")


def run_search(arguments: Ablate, name: str) -> None:
    """Search a space and show the best setting."""
    refuse(
        arguments,
        "--search",
        "study",
        "axis",
        "screen",
        "dry_run",
        "more_seeds",
        "until_resolved",
        "retry",
        "fail_fast",
    )
    experiment = arguments.experiment
    space = parse_space(experiment, arguments.space)
    spelled = hashlib.sha256("\n".join(sorted(arguments.space)).encode()).hexdigest()[:6]
    workdir = Path(arguments.workdir or Path("runs") / name / f"search-{spelled}-{fingerprint(experiment)}")
    seeds = arguments.seeds or Study().tuning_seeds
    memory = Memory(experiment, Study(seeds=seeds, metric=arguments.metric, split="validation"), space, workdir)

    def work() -> None:
        """Run what is missing."""
        trials, batch, options = arguments.trials, arguments.batch, arguments.options
        search(
            experiment,
            space,
            workdir,
            trials,
            batch,
            options,
            arguments.execution,
            seeds=seeds,
            metric=arguments.metric,
            workers=arguments.workers or 1,
        )

    if not share(arguments, workdir, work):
        return
    found = memory.found()
    if found.best is None:
        raise RunError(f"none of {len(found.tried)} settings came to a finite {found.metric}; see {workdir}")

    def shown(item: Tried) -> str:
        """Return a setting and its score in words."""
        setting = ", ".join(f"{path}={value!r}" for path, value in item.setting.items()) or "the baseline"
        return f"{found.metric} {item.value:.4f} with {setting}"

    print(f"best of {len(found.tried)} on validation, mean of {seeds} seeds: {shown(found.best)}")
    print(f"baseline: {shown(found.baseline)}")
    print("The winner was picked for its score, which is optimistic: judge it by a study, whose seeds are fresh.")
    print(f"look at:\n  {workdir / 'search.csv'}")


def refuse(arguments: Ablate, what: str, *flags: str) -> None:
    """Raise `UsageError` where a flag is given that has no meaning together with another one."""
    for flag in flags:
        if getattr(arguments, flag):
            raise UsageError(f"--{flag} has no meaning with {what}: leave one of them out")


def share(arguments: Ablate, workdir: Path, work: Callable[[], object]) -> bool:
    """Let the workers asked for do some work, this process among them where they are local; wait for them.

    Return whether this process is the one to report, now.
    """
    if arguments.worker:
        with interruptible(silent=True), contextlib.suppress(Interrupted):  # the process that reports says so
            work()
        return False
    workers = arguments.workers or 1
    words = command(workers)
    if arguments.engine == "local":
        with processes(words, workers):
            work()
        return True
    if arguments.engine == "ray":
        ray_engine.run(words, workers, arguments.address, settings(arguments.ray, "--ray"))
        return True
    logs = workdir / "slurm"
    jobs = slurm_engine.submit(words, workers, logs, settings(arguments.slurm, "--slurm"))
    print(f"submitted {', '.join(job.job_id for job in jobs)}; logs are in {logs}", flush=True)
    if arguments.detach:
        print("the same command without --engine and --detach does here what they left, and shows what came of it")
        return False
    slurm_engine.wait(jobs)
    return True


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
    changes = {field: value for field in ("seeds", "metric") if (value := getattr(arguments, field)) is not None}
    study = dataclasses.replace(study, **changes)
    goal(arguments.experiment, study)
    return title, study


def report(arguments: Report, known: set[type]) -> None:
    """Write and show the report of one study, or one of several."""
    stores = [Store(folder, known) for folder in arguments.workdir]
    output = arguments.output or (stores[0].root if len(stores) == 1 else "report")
    present(stores if len(stores) > 1 else stores[0], "", Path(output), test=arguments.test)


def present(
    stores: Store | list[Store], title: str, output: Path, remark: str = "", test: Literal["t", "permutation"] = "t"
) -> None:
    """Write a report and show its table, what it found and where it is."""
    from research.ablation.report import caption, findings, merge, tabulate, write_report
    from research.ablation.report.layout import layout

    found = [tabulate(store, title, test) for store in (stores if isinstance(stores, list) else [stores])]
    table = found[0][0] if len(found) == 1 else merge([table for table, _ in found])
    if remark:
        table = dataclasses.replace(table, remarks=(*table.remarks, remark))
    paths = write_report(output, table, [curves for _, curves in found])
    shape = layout(table)
    columns = [
        index for index, heading in enumerate(shape.headings) if heading.group or heading.text.split(" ±")[0] in SHOWN
    ]
    table_shown = Screen(box=None, header_style="bold", padding=(0, 1))
    for index in columns:
        heading = shape.headings[index]
        text = f"{heading.group}\n{heading.text}" if heading.group else heading.text
        table_shown.add_column(text, justify="right" if heading.numeric else "left", overflow="fold")
    for row in shape.rows:
        table_shown.add_row(*(row[index].text for index in columns))
    printed = console()
    printed.print(table_shown)
    for line in (*caption(table), *(line for finding in findings(table) for line in finding), *table.remarks):
        printed.print(line, soft_wrap=True)
    print("look at:")
    for path in paths:
        print(f"  {path}")


def console() -> Console:
    """Return where tables are shown; as wide as they like where nobody looks."""
    return Console(highlight=False, markup=False, width=None if sys.stdout.isatty() else 140)


def power(arguments: Power, known: set[type]) -> None:
    """Print how many seeds it takes."""
    import numpy as np

    from research.ablation.power import forecast
    from research.ablation.report import tabulate

    store = Store(arguments.workdir, known)
    check_unscreened(store.root)
    metric, _ = store.goal
    values = [
        outcome.metrics[store.study.split][metric]
        for outcome in store.outcomes()
        if outcome.phase == "final" and outcome.cell == 0 and outcome.status == "done"
    ]
    tests = max(len(store.cells()) - 1, 1)
    alpha = store.study.alpha / tests
    print(
        f"{store.study.split} {metric} of the baseline: mean {np.mean(values):.5g}, standard deviation "
        f"{np.std(values, ddof=1):.3g} over {len(values)} seeds"
        if len(values) > 1
        else f"{len(values)} seeds of the baseline are done"
    )
    entries = [row.entries[0] for row in tabulate(store)[0].rows]
    found = [entry.comparison.correlation for entry in entries if entry is not None and entry.comparison is not None]
    found = [correlation for correlation in found if np.isfinite(correlation)]
    cases = {"if pairing does not help": 0.0}
    if found:
        median = float(np.median(found))
        cases[f"with the correlation over seeds found so far, {median:.2f}"] = min(median, 0.99)
    for case, correlation in cases.items():
        needed = forecast(values, arguments.effect, correlation, arguments.target, alpha)
        low, high = needed.seeds_interval
        print(
            f"{case}: {needed.seeds} seeds find a difference of {arguments.effect:g} with a chance of "
            f"{arguments.target:g} at alpha {store.study.alpha:g} over {tests} cells; between {low} and {high}, as a "
            f"standard deviation from {len(values)} seeds is uncertain"
        )


def verify(arguments: Verify, known: set[type]) -> None:
    """Run a trial again and say whether it came out the same."""
    from research.ablation.verify import verify as run_again

    options = RunOptions(data_dir=arguments.data_dir, progress="none")
    verification = run_again(Store(arguments.workdir, known), arguments.row, arguments.seed, options)
    if not verification.equal:
        raise RunError(str(verification))
    print(verification)
