"""The command that has a trained model write."""

import dataclasses
from typing import Annotated

import jax
import tyro

from research.cli.runs import Evaluate, Flat, restored
from research.data import Pairs, Text
from research.devices import Processes
from research.errors import UsageError
from research.experiment import Experiment, Placement
from research.fields import Seed
from research.generation import Options, stream
from research.generation.terminal import show
from research.generation.writing import first_token
from research.training.storage.checkpoints.checkpoint import Kind


@dataclasses.dataclass(frozen=True)
class Generate:
    """Write continuations of prompts, or answers to them where the model is an encoder-decoder."""

    experiment: Annotated[Experiment, Flat]
    prompt: tyro.conf.UseAppendAction[tuple[str, ...]]
    """What is to be continued or answered; repeat the flag for further prompts, which are written as one batch."""
    writing: Annotated[Options, Flat] = Options()
    draw: Seed = 0
    """Another number draws other texts."""
    workdir: str | None = None
    """Run folder; default: the one of this experiment, runs/NAME/FINGERPRINT-seedN."""
    checkpoint: Kind = "latest"
    """The last state, or the one that did best on validation."""
    data_dir: str | None = None
    """Where prepared datasets are kept."""
    smoke: bool = False
    """Use the small variant."""


def generate(arguments: Generate, default: Experiment, name: str) -> None:
    """Print the texts."""
    model, data = arguments.experiment.model, arguments.experiment.data
    continues = first_token(model, arguments.writing) is None
    if not isinstance(data, Text | Pairs):
        raise UsageError(f"{name} learns from no texts: generate is for experiments whose data are Text or Pairs")
    if not arguments.prompt:
        raise UsageError('there is no prompt: give --prompt "...", once for each text')
    run = Evaluate(
        arguments.experiment,
        arguments.workdir,
        checkpoint=arguments.checkpoint,
        data_dir=arguments.data_dir,
        placement=Placement(),
        processes=Processes(),
    )
    experiment, state = restored(run, default, name)
    options = arguments.writing
    if isinstance(experiment.data, Text) and options.window is None:  # it has learned to see as much and no more
        options = dataclasses.replace(options, window=experiment.data.length)
    pieces = stream(
        experiment.model,
        state.evaluated,
        experiment.data.trained(arguments.data_dir),
        arguments.prompt,
        options,
        jax.random.key(arguments.draw),
    )
    show(pieces, arguments.prompt if continues else [""] * len(arguments.prompt))
