"""Weights between run folders and files, under the names of torchvision, timm and transformers.

python -m research.weights export --workdir RUN --output FILE.safetensors
python -m research.weights export --workdir RUN --output FOLDER
python -m research.weights import FILE --experiment experiments.NAME --workdir RUN

A FOLDER is that of a language model as transformers reads and writes it, and may be imported like a FILE; so may
org/name of the Hugging Face Hub, at the `--revision` that is said. The run records the commit.

What is imported is part of the experiment, as `Experiment.start`; the run folder holds its state before the first step,
so that `evaluate` and `predict` take the weights as they are, and `train` continues from them.
"""

import argparse
import dataclasses
import importlib
import pkgutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from research import command_lines
from research.errors import RunError, UsageError, suggestion
from research.experiment import Experiment, Pretrained, RunOptions, classes, fingerprint, replace
from research.interchange import locate, names, read_weights, save_pretrained, to_tensors, write_tensors
from research.interrupts import ends_at_ctrl_c
from research.training import identity, restore
from research.training.initialization.beginning import begin
from research.training.storage.checkpoints.checkpoint import Kind
from research.training.storage.files import partial_file
from research.training.storage.folder import Folder
from research.training.update.state import count_parameters

Flat = tyro.conf.arg(name="")  # a field of the experiment is --model.dropout, not --value.model.dropout


@dataclasses.dataclass(frozen=True)
class Export:
    """Write what a run is evaluated with, its running averages too, into a safetensors file; or into a FOLDER."""

    workdir: str
    """Run folder."""
    output: str
    """FILE.safetensors, or FOLDER, whose name has no ending."""
    checkpoint: Kind = "latest"
    """The last state, or the one that did best on validation."""
    experiment: str | None = None
    """Module of the experiment; needed only where it has classes of its own."""


@dataclasses.dataclass(frozen=True)
class Import:
    """Write the folder of a run that begins with the weights of a file. Fields of the experiment are flags."""

    file: tyro.conf.Positional[str]
    """FILE.safetensors, FILE.pth, FILE.pt or FILE.bin as PyTorch writes them, FILE.gguf, a FOLDER, or org/name."""
    value: Annotated[Experiment, Flat]
    experiment: str
    """Module of the experiment, such as experiments.NAME."""
    workdir: str
    """Run folder to write."""
    revision: str | None = None
    """Branch, tag or commit of org/name."""
    data_dir: str | None = None
    """Where prepared datasets are kept."""
    smoke: bool = False
    """Use the small variant."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 done, 1 a run folder is damaged, 2 bad usage, 130 stopped."""
    try:
        with ends_at_ctrl_c():
            run(list(sys.argv[1:] if arguments is None else arguments))
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def run(words: list[str]) -> None:
    """Do what a command line says."""
    match words:
        case [] | ["-h" | "--help"]:
            print(__doc__.strip())
        case ["export", *rest]:
            export(parse(Export(tyro.MISSING, tyro.MISSING), rest))
        case ["import", *rest]:
            take_in(parse(defaults(rest), rest))
        case [command, *_]:
            raise UsageError(f'there is no command "{command}"{suggestion(command, ("export", "import"))}')


def parse(default: Any, words: list[str]) -> Any:
    """Return `default` with flags applied; help is printed and ends it."""
    return command_lines.parse(
        type(default),
        default=default,
        args=words,
        prog=f"python -m research.weights {type(default).__name__.lower()}",
        description=type(default).__doc__,
        config=(tyro.conf.AvoidSubcommands,),
    )


def defaults(words: list[str]) -> Import:
    """Return what `import` does without further flags: its flags are the fields of the experiment that it names."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--experiment")
    parser.add_argument("--revision")
    parser.add_argument("--smoke", action="store_true")
    given, _ = parser.parse_known_args(words)
    if not words or words[0].startswith("-") or given.experiment is None:
        raise UsageError("say what to import: FILE --experiment experiments.NAME --workdir RUN, in this order")
    module = experiment_module(given.experiment)
    value = replace(module.experiment, module.smoke) if given.smoke else module.experiment
    value = replace(value, {"start": (pretrained(words[0], given.revision),)})
    return Import(words[0], value, given.experiment, workdir=tyro.MISSING)


def pretrained(source: str, revision: str | None) -> Pretrained:
    """Return the start of a run from a file, a folder, or org/name at what its branch or tag is now."""
    commit = locate(source, revision).revision
    _, digest = read_weights(source, commit)
    return Pretrained(source, digest, revision=commit)


def experiment_module(name: str) -> Any:
    """Return an experiment's module. Raises `UsageError` where there is none, or it has no experiment."""
    parent = name.rpartition(".")[0]
    try:
        module = importlib.import_module(name)
    except (ModuleNotFoundError, TypeError, ValueError) as error:  # the others: a name that is none
        if isinstance(error, ModuleNotFoundError) and not f"{name}.".startswith(f"{error.name}."):
            raise
        package = sys.modules.get(parent)
        known = [f"{parent}.{item.name}" for item in pkgutil.iter_modules(getattr(package, "__path__", []))]
        raise UsageError(f'there is no module "{name}"{suggestion(name, known) if known else ""}') from None
    if not isinstance(getattr(module, "experiment", None), Experiment):
        raise UsageError(f'"{name}" is no module of an experiment: it has no `experiment`')
    return module


def export(arguments: Export) -> None:
    """Write the file or folder and say what is in it."""
    output = Path(arguments.output)
    if output.suffix not in (".safetensors", ""):
        raise UsageError(f"--output must end in .safetensors, or have no ending for a folder, not {output.name}")
    if not output.parent.is_dir():
        raise UsageError(f"cannot write to {output}: there is no folder {output.parent}")
    own = classes(experiment_module(arguments.experiment).experiment) if arguments.experiment else set()
    experiment, state = restore(arguments.workdir, arguments.checkpoint, own)
    params, origin = state.evaluated, origin_of(experiment, Folder(arguments.workdir))
    said = f"{count_parameters(state):,} parameters at step {int(state.step)} in {output}"
    if not output.suffix:
        save_pretrained(experiment.model, params, output, origin=origin)
        print(f"{said}, which transformers reads: complete its README.md before you share it")
        return
    tensors = to_tensors({"params": params, **state.variables}, names(experiment.model))
    with partial_file(output) as partial:
        write_tensors(partial, tensors, origin)
    print(f"{said}, {len(tensors)} tensors")


def origin_of(experiment: Experiment, folder: Folder) -> dict[str, str]:
    """Return what a file of weights says of the run that they come from."""
    code = identity.read(folder)
    known = {} if code is None else {"code": code.name}
    return {"fingerprint": fingerprint(experiment), "seed": str(experiment.seed), **known}


def take_in(arguments: Import) -> None:
    """Write the run folder and say what to do with it."""
    state = begin(arguments.value, arguments.workdir, RunOptions(data_dir=arguments.data_dir))
    if int(state.step):
        print(f"{arguments.workdir} holds this run already, at step {int(state.step)}")
        return
    print(f"{count_parameters(state):,} parameters at step 0 in {arguments.workdir}, from {arguments.file}")
    print("continue with the same flags:")
    for command in ("evaluate", "train"):
        print(f"  python -m {arguments.experiment} {command} --workdir {arguments.workdir}")


if __name__ == "__main__":
    sys.exit(main())
