"""The command line of every experiment module: a thin shell over the functions of `research.training`.

    python -m experiments.NAME [train]   train, evaluate and write a run folder; the same command resumes
    python -m experiments.NAME evaluate  evaluate a trained run on a split
    python -m experiments.NAME predict   write predictions of a split to FILE.csv, FILE.jsonl or FILE.npz
    python -m experiments.NAME describe  show fields, layers, parameters, FLOPs and fingerprint

Exit codes: 0 done; 1 failed; 2 bad usage, found before any computation; 75 interrupted, saved and resumable; 130
stopped at once by a second Ctrl-C.
"""

import dataclasses
import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import tyro

from research import training
from research.data import Split
from research.errors import RunError, UsageError, suggestion
from research.experiment import Experiment, RunOptions, classes, difference, explain, fingerprint, replace
from research.training.checkpoint import Kind
from research.training.description import describe as description
from research.training.folder import Folder
from research.training.predictions import check_output
from research.training.progress import shown

Flat = tyro.conf.arg(name="")  # a field of the experiment is --model.dropout, not --experiment.model.dropout

COMMANDS = ("train", "evaluate", "predict", "describe")


@dataclasses.dataclass(frozen=True)
class Train:
    """Train, evaluate and write a run folder. The same command goes on where an interrupted run stopped."""

    experiment: Annotated[Experiment, Flat]
    options: Annotated[RunOptions, Flat]
    workdir: str | None = None
    """Run folder; default: runs/NAME/FINGERPRINT-seedN."""
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
    smoke: bool = False
    """Use the small variant."""


@dataclasses.dataclass(frozen=True)
class Predict(Evaluate):
    """Write predictions of a split, one row an example in dataset order."""

    output: str = dataclasses.field(kw_only=True)
    """FILE.csv, FILE.jsonl or FILE.npz; all hold the same numbers."""


@dataclasses.dataclass(frozen=True)
class Describe:
    """Show fingerprint, every field, layers, parameters and FLOPs; trains nothing."""

    experiment: Annotated[Experiment, Flat]
    smoke: bool = False
    """Describe the small variant."""


def main(
    experiment: Experiment,
    *,
    smoke: Mapping[str, Any],
    file: str,
    doc: str | None,
    arguments: Sequence[str] | None = None,
) -> NoReturn:
    """Run the command line of an experiment module and exit.

    Args:
        experiment: the value that flags change.
        smoke: overrides that make it run in seconds, for `--smoke`.
        file: the module's `__file__`; its stem names the experiment.
        doc: the module's docstring, shown by `--help`.
        arguments: the command line; default `sys.argv[1:]`.
    """
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        run(experiment, smoke, Path(file).stem, doc or "", list(sys.argv[1:] if arguments is None else arguments))
        sys.stdout.flush()
    except UsageError as error:
        leave(2, f"error: {error}")
    except training.Interrupted as error:
        leave(75, str(error))
    except RunError as error:
        leave(1, f"error: {error}")
    except BrokenPipeError:  # whoever read the output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        sys.stderr.flush()
        os._exit(130)  # at once: an orderly exit would wait for the threads that save
    sys.exit(0)


def leave(code: int, sentence: str) -> NoReturn:
    """Say why and exit."""
    print(sentence, file=sys.stderr)
    sys.exit(code)


def run(experiment: Experiment, smoke: Mapping[str, Any], name: str, doc: str, arguments: list[str]) -> None:
    """Parse a command line and do what it says."""
    command = arguments.pop(0) if arguments and not arguments[0].startswith("-") else "train"
    if command not in COMMANDS:
        raise UsageError(f'there is no command "{command}"{suggestion(command, COMMANDS)}')
    changed = replace(experiment, smoke) if "--smoke" in arguments else experiment
    match command:
        case "train":
            train(parse(Train(changed, RunOptions()), name, doc, arguments), name)
        case "evaluate":
            evaluate(parse(Evaluate(changed), name, doc, arguments), changed, name)
        case "predict":
            predict(parse(Predict(changed, output=tyro.MISSING), name, doc, arguments), changed, name)
        case "describe":
            describe(parse(Describe(changed), name, doc, arguments))


def parse(default: Any, name: str, doc: str, arguments: list[str]) -> Any:
    """Return `default` with flags applied; tyro prints help, or what is wrong and what was meant, and exits."""
    command = type(default).__name__.lower()
    # tyro joins the lines of a paragraph, so each entry becomes one.
    paragraphs = re.sub(r"\n(?=(Claim|Command|Cost|Result) )", "\n\n", doc.strip())
    return tyro.cli(
        type(default),
        default=default,
        args=arguments,
        prog=f"python -m experiments.{name} {command}",
        description=f"{paragraphs}\n\n{type(default).__doc__}\n\nCommands: {', '.join(COMMANDS)} (default: train).",
        use_underscores=True,
        config=(tyro.conf.AvoidSubcommands,),  # an optional value is given by flags, or is not there
    )


def default_workdir(experiment: Experiment, name: str) -> Path:
    """Return where runs of an experiment go unless told otherwise."""
    return Path("runs") / name / f"{fingerprint(experiment)}-seed{experiment.seed}"


def train(arguments: Train, name: str) -> None:
    """Train and name the files to look at."""
    workdir = arguments.workdir or default_workdir(arguments.experiment, name)
    folder = Folder(workdir)
    finished = folder.result.exists()
    result = training.train(arguments.experiment, workdir, arguments.options)
    if finished:
        print(f"{workdir} holds this run, finished")
        for split, metrics in result.metrics.items():
            print(f"{split} at step {result.steps}: {shown(metrics)}")
    seconds = ", ".join(f"{phase} {value:.1f}" for phase, value in result.seconds.items())
    print(f"seconds: {seconds}")
    print("look at:")
    for path, content in (
        (folder.result, "metrics, seconds, versions"),
        (folder.curves, "learning curves"),
        *((folder.root / file, content) for file, content in result.illustrations.items()),
        (folder.metrics, "every report"),
        (folder.experiment, "the full configuration"),
    ):
        print(f"  {path}  {content}")


def restored(arguments: Evaluate, default: Experiment, name: str) -> tuple[Experiment, Any]:
    """Return experiment and state of the run that the arguments name.

    Without --workdir, flags find the folder. With it, the folder says what the experiment is, and flags that say
    otherwise are refused.
    """
    workdir = arguments.workdir or default_workdir(arguments.experiment, name)
    experiment, state = training.restore(workdir, arguments.checkpoint, classes(arguments.experiment))
    flags = difference(default, arguments.experiment)
    if flags and difference(experiment, arguments.experiment):
        raise UsageError(f"{workdir} holds another experiment:\n{explain(experiment, arguments.experiment)}")
    Folder(workdir).check_data(experiment.data.files(arguments.data_dir))
    return experiment, state


def evaluate(arguments: Evaluate, default: Experiment, name: str) -> None:
    """Print the metrics of a split."""
    experiment, state = restored(arguments, default, name)
    metrics = training.evaluate(experiment, state, arguments.split, RunOptions(data_dir=arguments.data_dir))
    print(f"{arguments.split} at step {int(state.step)}: {shown(metrics)}")


def predict(arguments: Predict, default: Experiment, name: str) -> None:
    """Write predictions and say where."""
    check_output(arguments.output)
    experiment, state = restored(arguments, default, name)
    predictions = training.predict(experiment, state, arguments.split, RunOptions(data_dir=arguments.data_dir))
    training.write_predictions(arguments.output, predictions)
    print(f"{len(predictions['index']):,} rows of {arguments.split} in {arguments.output}")


def describe(arguments: Describe) -> None:
    """Print the description."""
    print(description(arguments.experiment))
