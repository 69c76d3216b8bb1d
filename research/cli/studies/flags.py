"""What the command `ablate` can be asked for, and what of it does not go together."""

import dataclasses
from typing import Annotated, Literal

import tyro

from research.ablation.execution.changes import Retry
from research.ablation.execution.modes.choosing import Execution
from research.cli.runs import Flat
from research.errors import UsageError
from research.experiment import Experiment, RunOptions
from research.fields import Positive, Range, Size, validate


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
    maximize: bool | None = None
    """Whether more of it is better; default: the study's, or as the task says."""
    alpha: Annotated[float, Range(0.0, 1.0, open_end=True, open_start=True)] | None = None
    """Chance of any false claim among all cells; default: the study's, 0.05."""
    margin: Positive | None = None
    """Differences below it, either way, count as none; default: the study's."""
    title: str | None = None
    """What the report is called; default: the study's, or the names of experiment and study."""
    drop: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Cell to take out of the study, by its name in the report, for good; given again, a further one."""
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
    """Share of the cells that advances from each of these steps, besides the baseline."""
    retry: tuple[Retry, ...] = ()
    """Run such trials again; changed are those of code that has changed since."""
    fail_fast: bool = False
    """Begin nothing after a failure."""
    baselines: bool = True
    """Whether the simple baselines of this module are fitted too, once; --smoke leaves them out unless asked."""
    dry_run: bool = False
    """Print cells, seeds, programs, what is done, time and memory; run nothing but a few steps of the first program."""
    measure: bool = False
    """With --dry_run: run a few steps of every program, which takes as long as compiling them."""
    smoke: bool = False
    """Vary the small variant."""

    def __post_init__(self) -> None:
        validate(self)


def check_flags(arguments: Ablate) -> None:
    """Raise `UsageError` where a flag is given without the one that it goes with, or one of another command."""
    for flag, needed, fits in (
        ("slurm", "--engine slurm", arguments.engine == "slurm"),
        ("detach", "--engine slurm", arguments.engine == "slurm"),
        ("ray", "--engine ray", arguments.engine == "ray"),
        ("address", "--engine ray", arguments.engine == "ray"),
        ("space", "--search optuna", arguments.search is not None),
        ("measure", "--dry_run", arguments.dry_run),
    ):
        if getattr(arguments, flag) and not fits:
            raise UsageError(f"--{flag} goes with {needed}")
    if arguments.drop and arguments.dry_run:
        raise UsageError("--drop changes the study, and --dry_run changes nothing: leave one of them out")
    if arguments.options.chaos is not None:
        raise UsageError("chaos is for train: the trials of a study are not started again after a fault")


def refuse(arguments: Ablate, what: str, *flags: str) -> None:
    """Raise `UsageError` where a flag is given that has no meaning together with another one."""
    for flag in flags:
        if getattr(arguments, flag):
            raise UsageError(f"--{flag} has no meaning with {what}: leave one of them out")
