"""The options of trials, which differ from those of a single run."""

import dataclasses
import math
from collections.abc import Iterable

from research.ablation.design.study import Cell
from research.ablation.execution.modes.choosing import Choice, Execution
from research.data import Uniform
from research.errors import UsageError
from research.experiment import Placement, RunOptions

SAVED_SECONDS = 30.0  # between checkpoints of a trial: what is lost when it is killed, where saving it costs more


def for_trials(options: RunOptions, execution: Execution) -> tuple[RunOptions, Execution]:
    """Return options and execution of trials: each on one device, or one after the other in a placement of their own.

    One that diverges continues, however it is run, and so is told from one that fails.

    Raises:
        UsageError: both are asked for, or a trace, which is of a single run.
    """
    if options.profile is not None:
        raise UsageError("--profile is for a single run: train one of the cells")
    options = dataclasses.replace(options, stop_diverged=False)
    if options.placement == Placement():
        return dataclasses.replace(options, placement=Placement(data=1)), execution
    if execution not in ("auto", "loop"):
        raise UsageError(f'trials that run together, as "{execution}" does, are on one device each: choose loop')
    return options, "loop"


def check_execution(cells: Iterable[Cell], execution: Execution) -> None:
    """Raise `UsageError`, naming the cell, where trials are to run together whose batches differ in length."""
    for cell in cells:
        if execution not in ("auto", "loop") and not isinstance(cell.experiment.data.order, Uniform):
            raise UsageError(
                f'{cell.name}: trials that run together, as "{execution}" does, have batches of one length, and those '
                "of a Bucketed order differ from seed to seed: choose auto or loop"
            )


def adapted(options: RunOptions, choice: Choice) -> RunOptions:
    """Return the options of trials that run in a certain way, checkpoints not less than `SAVED_SECONDS` apart."""
    between = options.checkpoint_every * choice.step_seconds
    checkpoint_every = options.checkpoint_every * max(1, math.floor(SAVED_SECONDS / between))
    return dataclasses.replace(
        options, steps_per_call=choice.steps_per_call, checkpoint_every=min(checkpoint_every, 2**31 - 1)
    )
