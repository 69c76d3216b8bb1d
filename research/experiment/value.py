"""The value: everything that decides a run's numbers."""

import dataclasses
from typing import Literal

import flax.linen as nn
import jax

from research.data import Data
from research.fields import Length, Seed, Size, Switch, validate
from research.optimization import Optimizer
from research.tasks import Task

ParameterPath = str | tuple[str, str]
"""A dotted path of parameters, the same in a source and here; or that in the source, and that here."""


@dataclasses.dataclass(frozen=True)
class Safety:
    """What a run does about losses and gradients that cannot be learned from."""

    nonfinite: Literal["stop", "skip", "rewind"] = "stop"
    """What follows a loss or gradient that is not finite: stop ends the run, which keeps its last good checkpoint; skip
    leaves that update out, though 11 in a row end the run; rewind first takes the steps since the last checkpoint once
    more, as hardware may have failed in passing, and leaves out what comes twice."""
    spike: Switch = 0.0
    """Standard deviations above the mean of the last 128 losses from which on an update is left out, once 64 are known
    and but for the 11th in a row; 6 is usual, 0 leaves none out."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """Everything that decides a run's numbers.

    Construction checks every field, deeply, against its annotation and raises `UsageError` naming the dotted path.
    """

    model: nn.Module
    """A linen module: its fields are the architecture."""
    task: Task
    """What is learned: loss, metrics and predictions."""
    data: Data
    """Where batches come from, and how they are prepared."""
    optimizer: Optimizer
    """Update rule, schedule and regularisation."""
    steps: Length
    """Training steps; also the length of the learning-rate schedule."""
    batch_size: Size
    """Examples in the global batch of a training step, on all devices together."""
    seed: Seed = 0
    """Decides initial parameters, data order, dropout and augmentation."""
    start: "tuple[Start | Pretrained, ...]" = ()
    """Runs and files whose parameters this one starts from; what none of them brings is new."""
    references: "tuple[tuple[str, Experiment], ...]" = ()
    """Frozen networks that the task looks at: the name that the task has for each, and the run that trains it first.
    They are given the prepared batches of this experiment, and are no part of its checkpoints."""
    accumulation: Size = 1
    """Parts of a batch that are computed one after the other, their gradients added up: less memory. Batch norm and
    dropout see a part at a time, so this is a part of the value."""
    safety: Safety = Safety()
    """Which updates are left out, and what ends a run."""
    forward_mode: bool = False
    """Whether `jax.jvp` and `jax.hessian` work through convolutions and attention, as reverse mode always does: they
    are left to XLA's own formulation, slower to train on a CPU. A part of the program, and so of what is compiled."""

    def __post_init__(self) -> None:
        validate(self)


@dataclasses.dataclass(frozen=True)
class Start:
    """A run to start from, as a value like any other: it is trained first, unless it is there already.

    It has a seed of its own, so by default every seed of the run that follows starts from the same parameters.
    """

    experiment: Experiment
    """What is trained first."""
    parameters: tuple[ParameterPath, ...]
    """What is taken from it: dotted paths such as "bert" or "encoder.block_0", each with everything below it, or pairs
    of its path and the path here, such as ("encoder", "decoder")."""


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A file of weights to start from, as a value like any other: its digest says what is in it.

    Where the file lies is no part of the value: two that differ in that alone are equal and have one fingerprint.
    """

    file: str = dataclasses.field(compare=False)
    """FILE.safetensors with the names of torchvision, timm or transformers, FILE.pth, FILE.pt or FILE.bin as PyTorch
    writes them, FILE.gguf of a Llama, the FOLDER of a language model as transformers does, or "org/name" of the Hugging
    Face Hub."""
    sha256: str
    """Digest of the file, as `sha256sum` prints it, of several that of theirs; another file is refused."""
    parameters: tuple[ParameterPath, ...] | None = None
    """What is taken from it: dotted paths such as "stem" or "stage_0", each with everything below it, or pairs of the
    path that the file has it under and the path here; None takes all, and refuses a file with more."""
    revision: str | None = dataclasses.field(default=None, compare=False)
    """Commit of "org/name", in full; a branch or tag is refused, as it may be another one tomorrow."""


def spec(experiment: Experiment) -> dict[str, jax.ShapeDtypeStruct]:
    """Return the shapes and types of one training batch, from the dataset's description alone."""
    return {
        name: jax.ShapeDtypeStruct((experiment.batch_size, *item.shape), item.dtype)
        for name, item in experiment.data.spec().items()
    }
