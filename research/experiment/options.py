"""What a run does besides its numbers: where it runs, and what it keeps and shows."""

import dataclasses
from typing import Literal

from research.data import Residency
from research.errors import UsageError
from research.fields import Count, Seed, Size, validate


@dataclasses.dataclass(frozen=True)
class Placement:
    """Which devices share a run, and how; results depend on it by the order of floating point sums alone.

    The devices form a mesh: `data` x `fsdp` x `tensor`. A batch is divided over `data` and `fsdp`, the state over
    `fsdp`, and over `tensor` as the rules of the model say. By default all devices share the batch, or as many of them
    as divide it.
    """

    method: Literal["jit", "pmap"] = "jit"
    """jit compiles one program for the whole mesh; pmap one for each device, which holds the whole state."""
    data: Size | None = None
    """Devices that share the batch and each hold the state; None for all that the other axes leave."""
    fsdp: Size = 1
    """Devices that share the batch, and among which parameters and optimizer state are divided."""
    tensor: Size = 1
    """Devices among which the matrices of a layer are divided, by the rules of the model."""


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """What a run does besides its numbers; none of it enters the fingerprint."""

    placement: Placement = Placement()
    """Which devices share the run."""
    data_dir: str | None = None
    """Where prepared datasets are kept; default: TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    residency: Residency = "auto"
    """Where the training split lives; all choices give the same batches."""
    steps_per_call: Size = 1
    """Most training steps that one call of the compiled program takes, as far as they divide those between reports,
    evaluations and checkpoints; more is faster where a step takes a fraction of a millisecond."""
    log_every: Size = 50
    """Steps between training reports."""
    evaluate_every: Count = 200
    """Steps between evaluations on the validation split; 0 evaluates at the end only."""
    checkpoint_every: Size = 500
    """Steps between checkpoints; one is also written at the end and on interruption."""
    keep: Size = 2
    """Latest checkpoints kept, besides the best one."""
    save_errors: Literal["stop", "warn"] = "stop"
    """What follows a checkpoint that cannot be saved: stop ends the run, warn says so and continues, though a run whose
    last one is missing never ends well."""
    stop_after: Size | None = None
    """Stop after this step as an interruption would, keeping the schedule; the same command resumes."""
    start_dir: str | None = None
    """Where the runs are that others begin with; default: start/ in the folder of the run that needs it."""
    keep_best: bool = True
    """Whether the state that was best on validation is kept."""
    pictures: bool = True
    """Whether a run ends with learning curves, and with what its task draws or writes."""
    profile: str | None = None
    """START:STOP: trace the steps from step START to step STOP into profile/, for xprof and Perfetto, and show what was
    slowest. Nothing is traced of steps that were taken before."""
    progress: Literal["auto", "bar", "lines", "none"] = "auto"
    """Progress bar or plain lines; auto shows a bar on a terminal."""
    chaos: str | None = None
    """KIND:PROBABILITY,...: let faults strike before steps at random, start the run again after each, and end as an
    undisturbed one does. Kinds are kill, term, nan (in a parameter), enospc (a full disk) and bitflip (in the newest
    checkpoint), such as kill:0.01,nan:0.005."""
    chaos_seed: Seed = 0
    """Decides when they strike."""
    accept_code_change: bool = False
    """Whether what other code computed of a run may stay, and be resumed; code.json then says what had changed."""
    stop_diverged: bool = True
    """Whether a run whose numbers are no longer finite ends at once; trials of a study continue and are reported as
    diverged."""

    def __post_init__(self) -> None:
        validate(self)
        if self.placement.method == "pmap" and self.steps_per_call > 1:
            raise UsageError("pmap takes one step in a call: set steps_per_call to 1, or placement.method to jit")
