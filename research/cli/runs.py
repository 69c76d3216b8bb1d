"""The commands of one run: train, evaluate, predict, describe."""

import dataclasses
import json
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from research import children, training
from research.baselines import Baseline, Judgement, judge_missing
from research.data import Split
from research.devices import Processes, is_main_process, join
from research.devices.discovery import find
from research.errors import RunError, UsageError
from research.experiment import (
    Experiment,
    Placement,
    Pretrained,
    RunOptions,
    classes,
    difference,
    explain,
    fingerprint,
    replace,
)
from research.planning.description import describe as description
from research.training import identity
from research.training.display.progress import shown
from research.training.faults import chaos
from research.training.storage.checkpoints.checkpoint import Kind
from research.training.storage.files import write
from research.training.storage.folder import Folder
from research.training.storage.predictions import check_output

log = logging.getLogger(__name__)

Flat = tyro.conf.arg(name="")  # a field of the experiment is --model.dropout, not --experiment.model.dropout


@dataclasses.dataclass(frozen=True)
class Train:
    """Train, evaluate and write a run folder. The same command resumes where an interrupted run stopped."""

    experiment: Annotated[Experiment, Flat]
    options: Annotated[RunOptions, Flat]
    workdir: str | None = None
    """Run folder; default: runs/NAME/FINGERPRINT-seedN. Several processes need one that all of them see."""
    processes: Processes = Processes()
    """Where several processes train the run together, which of them this is."""
    baselines: bool = True
    """Whether the simple baselines of this module are fitted too, once; --smoke leaves them out unless asked."""
    smoke: bool = False
    """Run the small variant, in seconds."""


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Evaluate a trained run on a split, exactly."""

    experiment: Annotated[Experiment, Flat]
    workdir: str | None = None
    """Run folder; default: the one of this experiment, runs/NAME/FINGERPRINT-seedN."""
    split: Split = "test"
    """Which examples."""
    checkpoint: Kind = "latest"
    """The last state, or the one that did best on validation."""
    data_dir: str | None = None
    """Where prepared datasets are kept."""
    placement: Placement = Placement()
    """Which devices share the work."""
    processes: Processes = Processes()
    """Where several processes share it, which of them this is."""
    smoke: bool = False
    """Use the small variant."""


@dataclasses.dataclass(frozen=True)
class Predict(Evaluate):
    """Write predictions of a split, one row an example in dataset order."""

    output: str = dataclasses.field(kw_only=True)
    """FILE.csv, FILE.jsonl or FILE.npz; all hold the same numbers."""


@dataclasses.dataclass(frozen=True)
class Rollback:
    """Go back to a checkpoint: what came later is moved to archive/ in the run folder, and train resumes there."""

    experiment: Annotated[Experiment, Flat]
    workdir: str | None = None
    """Run folder; default: the one of this experiment, runs/NAME/FINGERPRINT-seedN."""
    step: int = dataclasses.field(kw_only=True)
    """The step to go back to; a step that is not kept is answered with those that are."""
    smoke: bool = False
    """Use the small variant."""


@dataclasses.dataclass(frozen=True)
class Describe:
    """Show fingerprint, every field, layers, parameters and FLOPs; trains nothing."""

    experiment: Annotated[Experiment, Flat]
    smoke: bool = False
    """Describe the small variant."""


def default_workdir(experiment: Experiment, name: str) -> Path:
    """Return where runs of an experiment go unless told otherwise."""
    return Path("runs") / name / f"{fingerprint(experiment)}-seed{experiment.seed}"


def imported(experiment: Experiment, workdir: str | Path) -> Experiment:
    """Return `experiment` starting from the weights that were imported into a run folder, where there are some."""
    folder = Folder(workdir)
    if experiment.start or not folder.experiment.exists():
        return experiment
    held = folder.read_experiment(classes(experiment)).start
    return replace(experiment, {"start": held}) if any(isinstance(start, Pretrained) for start in held) else experiment


def train(arguments: Train, baselines: Mapping[str, Baseline], name: str, command: Sequence[str]) -> None:
    """Train, fit the baselines and name the files to look at; `command` starts this again after faults asked for."""
    if arguments.options.chaos is not None and not chaos.supervised():
        train_again_and_again(arguments, name, command)
        return
    join(arguments.processes)
    workdir = arguments.workdir or default_workdir(arguments.experiment, name)
    folder = Folder(workdir)
    finished = folder.result.exists()
    result = training.train(imported(arguments.experiment, workdir), workdir, arguments.options)
    if not is_main_process():
        return
    if finished:
        nothing = ", nothing is left to trace" if arguments.options.profile else ""
        print(f"{workdir} holds this run, finished{nothing}")
        for split, metrics in result.metrics.items():
            print(f"{split} at step {result.steps}: {shown(metrics)}")
    seconds = ", ".join(f"{phase} {value:.1f}" for phase, value in result.seconds.items())
    print(f"seconds: {seconds}")
    if arguments.baselines:
        for judgement in judge_missing(
            arguments.experiment, baselines, folder.baselines, data_dir=arguments.options.data_dir
        ):
            print(judgement_line(judgement))
    print("look at:")
    for path, content in (
        (folder.result, "metrics, seconds, versions"),
        *([(folder.curves, "learning curves")] if folder.curves.exists() else []),
        *((folder.root / file, content) for file, content in result.illustrations.items()),
        *([(folder.baselines, "what simple baselines come to")] if folder.baselines.exists() else []),
        (folder.metrics, "every report"),
        (folder.experiment, "the full configuration"),
    ):
        print(f"  {path}  {content}")


def judgement_line(judgement: Judgement) -> str:
    """Return what came of a baseline, in a line."""
    told = f"not fitted: {judgement.error}" if judgement.error else f"test {shown(judgement.metrics.get('test', {}))}"
    return f"baseline {judgement.name}  {told}"


def train_again_and_again(arguments: Train, name: str, command: Sequence[str]) -> None:
    """Start the command in a process of its own, again after each fault of `--chaos`, until it is done."""
    options, folder = arguments.options, Folder(arguments.workdir or default_workdir(arguments.experiment, name))
    chaos.check(arguments.experiment, options)
    if find(arguments.processes, os.environ, tpu=False) is not None:
        raise UsageError("chaos strikes one process alone: train without it in several")
    environment = {**os.environ, chaos.SUPERVISOR: str(os.getpid())}
    with children.signals("the run saves and ends; once more ends it at once") as received:
        code, reason = chaos.supervise(lambda: children.run(command, environment, received), folder, received)
    print(chaos.summary(chaos.strikes(folder)), flush=True)
    if reason:
        raise RunError(reason)
    if code:
        sys.exit(code)


def rollback(arguments: Rollback, name: str) -> None:
    """Go back and say where the rest is."""
    workdir = arguments.workdir or default_workdir(arguments.experiment, name)
    archive = training.rollback(workdir, arguments.step)
    print(f"{workdir} is back at step {arguments.step}; what came later is in {archive}")


def restored(arguments: Evaluate, default: Experiment, name: str) -> tuple[Experiment, Any]:
    """Return experiment and state of the run that the arguments name.

    Without --workdir, flags find the folder. With it, the folder says what the experiment is, and flags that say
    otherwise are refused.
    """
    join(arguments.processes, trains=False)
    workdir = arguments.workdir or default_workdir(arguments.experiment, name)
    known = classes(arguments.experiment)
    experiment, state = training.restore(workdir, arguments.checkpoint, known, arguments.placement)
    flags, named = difference(default, arguments.experiment), imported(arguments.experiment, workdir)
    if flags and difference(experiment, named):
        raise UsageError(f"{workdir} holds another experiment:\n{explain(experiment, named)}")
    Folder(workdir).check_data(experiment.data.files(arguments.data_dir))
    if names := identity.changes(experiment, Folder(workdir)):
        log.warning("%s was trained by other code than computes this; changed are %s", workdir, ", ".join(names))
    return experiment, state


def references(arguments: Evaluate, experiment: Experiment, name: str) -> training.References:
    """Return the frozen networks of the run that the arguments name, where they were trained for it."""
    root = Path(arguments.workdir or default_workdir(arguments.experiment, name))
    return training.read_references(experiment, root, options(arguments))


def options(arguments: Evaluate) -> RunOptions:
    """Return the options of evaluation and prediction."""
    return RunOptions(data_dir=arguments.data_dir, placement=arguments.placement)


def evaluate(arguments: Evaluate, default: Experiment, name: str) -> None:
    """Print the metrics of a split."""
    experiment, state = restored(arguments, default, name)
    metrics = training.evaluate(
        experiment, state, arguments.split, options(arguments), references(arguments, experiment, name)
    )
    if is_main_process():
        print(f"{arguments.split} at step {int(state.step)}: {shown(metrics)}")


def predict(arguments: Predict, default: Experiment, name: str) -> None:
    """Write predictions and say where."""
    check_output(arguments.output)
    experiment, state = restored(arguments, default, name)
    predictions = training.predict(
        experiment, state, arguments.split, options(arguments), references(arguments, experiment, name)
    )
    if not is_main_process():
        return
    training.write_predictions(arguments.output, predictions)
    print(f"{len(predictions['index']):,} rows of {arguments.split} in {arguments.output}")
    if scores := experiment.task.text_scores(predictions):
        beside = Path(arguments.output).with_suffix(".scores.json")
        told = {name: score._asdict() for name, score in scores.items()}
        write(beside, json.dumps({"split": arguments.split, "step": int(state.step), **told}, indent=2) + "\n")
        print(f"as texts: {shown({name: each.score for name, each in scores.items()})}; how computed, in {beside}")


def describe(arguments: Describe) -> None:
    """Print the description."""
    print(description(arguments.experiment))
