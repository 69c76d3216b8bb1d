"""From a command line to an exit code."""

import dataclasses
import logging
import re
import sys
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NoReturn

import jax
import tyro

from research import command_lines, devices, training
from research.ablation.design.study import Study
from research.baselines import Baseline
from research.cli import planning as ahead
from research.cli import runs as one
from research.cli.garbage import leave_out_imports
from research.cli.generating import Generate, generate
from research.cli.help import short_help
from research.cli.studies.ablate import ablate
from research.cli.studies.flags import Ablate
from research.cli.studies.power import Power, power
from research.cli.studies.reporting import Report, report
from research.cli.studies.verifying import Verify, verify
from research.errors import RunError, UsageError, suggestion
from research.experiment import Experiment, RunOptions, classes, difference, replace, value_at
from research.fields import is_value
from research.interrupts import ends_at_ctrl_c
from research.streams import open_streams, output_failed

Fit = Callable[[Experiment, Set[str], str | None], Experiment]
"""Gives an experiment what is found in its data, but for what flags gave, such as `research.experiment.fit`."""

COMMANDS = (
    *("train", "evaluate", "predict", "generate", "describe", "rollback", "plan"),
    *("ablate", "report", "power", "verify"),
)


def main(
    experiment: Experiment,
    *,
    smoke: Mapping[str, Any] | None = None,
    studies: Mapping[str, Study] | None = None,
    baselines: Mapping[str, Baseline] | None = None,
    fit: Fit | None = None,
    file: str,
    doc: str | None = None,
    arguments: Sequence[str] | None = None,
) -> NoReturn:
    """Run the command line of an experiment module and exit.

    Args:
        experiment: the value that flags change.
        smoke: overrides that make it run in seconds, for `--smoke`, which is refused without.
        studies: its ablations by name, for `ablate`.
        baselines: simple methods by name, fitted to the same splits and shown beside what it comes to.
        fit: what follows where flags change the data: it gives the value that is meant from the one that the flags
            gave, the dotted paths that were typed, and where datasets are kept.
        file: the module's `__file__`; its stem names the experiment.
        doc: the module's docstring, shown by `--help`.
        arguments: the command line; default `sys.argv[1:]`.
    """
    leave_out_imports()
    open_streams()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        with ends_at_ctrl_c():
            run(experiment, smoke, studies or {}, baselines or {}, fit, Path(file).stem, doc or "", words)
            sys.stdout.flush()
    except UsageError as error:
        leave(2, f"error: {error}")
    except training.Interrupted as error:
        print(error, file=sys.stderr)
        output_failed()
        sys.exit(75)
    except RunError as error:
        leave(1, f"error: {error}")
    except (jax.errors.JaxRuntimeError, ValueError) as error:  # Gloo's come as either
        if not (devices.joined() and "Gloo" in str(error)):
            raise
        leave(1, f"error: the processes lost each other: {str(error).splitlines()[0]}")
    except OSError as error:
        if not output_failed("\n"):
            raise
        if not isinstance(error, BrokenPipeError):  # else whoever read the output, such as `head`, has gone
            leave(1, f"error: standard output failed: {error.strerror}; what a command writes into files is there")
    sys.exit(0)


def leave(code: int, sentence: str) -> NoReturn:
    """Say why and exit."""
    print(sentence, file=sys.stderr)
    output_failed()
    devices.leave(code)


def run(
    experiment: Experiment,
    smoke: Mapping[str, Any] | None,
    studies: Mapping[str, Study],
    baselines: Mapping[str, Baseline],
    fit: Fit | None,
    name: str,
    doc: str,
    arguments: list[str],
) -> None:
    """Parse a command line and do what it says."""
    as_typed = arguments == sys.argv[1:]
    again = [sys.executable, *sys.orig_argv[1:]] if as_typed else [*module(name), *arguments]
    command = arguments.pop(0) if arguments and not arguments[0].startswith("-") else "train"
    if command not in COMMANDS:
        raise UsageError(f'there is no command "{command}"{suggestion(command, COMMANDS)}')
    small = "--smoke" in arguments
    if small and smoke is None:
        raise UsageError(
            f'{name} has no small variant: state one in its module, such as main(..., smoke={{"steps": 20}})'
        )
    changed = replace(experiment, smoke or {}) if small else experiment

    def parsed(default: Any) -> Any:
        """Return the command's arguments."""
        given = parse(default, name, doc, arguments)
        if fit is not None and getattr(given, "experiment", changed).data != changed.data:
            given = dataclasses.replace(given, experiment=fitted(fit, given, arguments))
        devices.keep_programs_and_memory()  # not before: whoever asks for help gets no folder
        return given

    match command:
        case "train":
            one.train(parsed(one.Train(changed, RunOptions(), baselines=not small)), baselines, name, again)
        case "evaluate":
            one.evaluate(parsed(one.Evaluate(changed)), changed, name)
        case "predict":
            one.predict(parsed(one.Predict(changed, output=tyro.MISSING)), changed, name)
        case "generate":
            generate(parsed(Generate(changed, ())), changed, name)
        case "describe":
            one.describe(parsed(one.Describe(changed)))
        case "rollback":
            one.rollback(parsed(one.Rollback(changed, step=tyro.MISSING)), name)
        case "plan":
            ahead.print_plan(parsed(ahead.Plan(changed)), name)
        case "ablate":
            ablate(parsed(Ablate(changed, RunOptions(), baselines=not small)), studies, baselines, name, as_typed)
        case "report":
            report(parsed(Report(tyro.MISSING)), classes(experiment))
        case "power":
            power(parsed(Power(tyro.MISSING, tyro.MISSING)), classes(experiment))
        case "verify":
            verify(parsed(Verify(tyro.MISSING, tyro.MISSING, tyro.MISSING)), classes(experiment))


def fitted(fit: Fit, given: Any, arguments: Sequence[str]) -> Experiment:
    """Return the experiment of a command's arguments with what is found in its data, and say what that is."""
    data_dir = getattr(given, "options", given)
    typed = {word.partition("=")[0].lstrip("-").replace("-", "_") for word in arguments if word.startswith("--")}
    typed |= {".".join((*path, last.removeprefix("no_"))) for *path, last in (word.split(".") for word in typed)}
    found = fit(given.experiment, typed, getattr(data_dir, "data_dir", None))
    print(f"found in {getattr(found.data, 'name', 'the data')}:")
    for path in difference(given.experiment, found):
        value = value_at(found, path)
        print(f"  {path} {type(value).__name__ if is_value(value) else value}")
    return found


def module(name: str) -> list[str]:
    """Return the words that run an experiment's command line."""
    return [sys.executable, "-m", f"experiments.{name}"]


def parse(default: Any, name: str, doc: str, arguments: list[str]) -> Any:
    """Return `default` with flags applied; help is printed and ends it."""
    usage = f"python -m experiments.{name} {type(default).__name__.lower()}"
    if {"-h", "--help"} & set(arguments):
        print(short_help(default, usage, doc, COMMANDS))
        sys.exit(0)
    if {"--help_all", "--help-all"} & set(arguments):
        arguments = ["--help"]
    # tyro joins the lines of a paragraph, so each entry becomes one.
    paragraphs = re.sub(r"\n(?=(Claim|Command|Cost|Result) )", "\n\n", doc.strip())
    return command_lines.parse(
        type(default),
        default=default,
        args=arguments,
        prog=usage,
        description=f"{paragraphs}\n\n{type(default).__doc__}\n\nCommands: {', '.join(COMMANDS)} (default: train).\n\n"
        "Compiled programs are kept in ~/.cache/ceteris/compilations: JAX_COMPILATION_CACHE_DIR names another folder, "
        "JAX_ENABLE_COMPILATION_CACHE=false keeps none. On Linux memory that a step frees is kept for the next, in "
        "blocks of up to 256 MiB, which is faster on a CPU: CETERIS_KEEP_MEMORY=false gives it back to the system.\n\n"
        "Every flag is below; --help is the shorter list.",
        config=(tyro.conf.AvoidSubcommands,),  # an optional value is given by flags, or is not there
    )
