"""One run, from an experiment to its result."""

import contextlib
import dataclasses
import logging
from pathlib import Path
from typing import get_args

from research.data import Split, hold
from research.devices import is_main_process, lay_out
from research.devices.cache import Compilations
from research.devices.profile import Profile, window
from research.errors import UsageError
from research.experiment import Experiment, RunOptions
from research.training import identity
from research.training.clock import Clock
from research.training.display.watch import Watch
from research.training.evaluation import open_split
from research.training.faults import chaos
from research.training.faults.guard import at_once, interruptible
from research.training.initialization.checking import check
from research.training.initialization.order import check_calls, compare_batch
from research.training.initialization.references import digests_of, read_references
from research.training.initialization.start import check_tokens, runs_before, start_folder
from research.training.run import Run, Splits
from research.training.storage import sealed
from research.training.storage.checkpoints.checkpoint import Checkpoints
from research.training.storage.environment import environment
from research.training.storage.folder import Folder, Result

log = logging.getLogger(__name__)


def train(
    experiment: Experiment, workdir: str | Path, options: RunOptions | None = None, splits: Splits | None = None
) -> Result:
    """Train, evaluate and write a run folder; a run that was interrupted resumes exactly where it stopped.

    A folder that holds the finished run returns its result at once. `splits` are those of the experiment's data where
    they are already open, so that the runs of a sweep decode them once.

    Raises:
        UsageError: the parts of the experiment do not fit, the dataset is not there or damaged, or `workdir` cannot be
            written or holds another experiment, or what other code computed; found before anything is computed or
            written, but for damage in data too large for memory, which are read as they are needed. Also where
            `options.chaos` asks for faults and nothing would start this process again: only the command does.
        Interrupted: SIGINT, SIGTERM or `options.stop_after` ended the run early; it is saved.
        Diverged: the numbers are no longer finite, and `experiment.safety.nonfinite` does not say to continue.
        RunError: the folder is damaged, another process runs in it, or saving failed.
    """
    options = options or RunOptions()
    steps = None if options.profile is None else window(options.profile, experiment.steps)
    schedule = None if options.chaos is None else schedule_of_faults(experiment, options)
    folder, clock = Folder(workdir), Clock()
    folder.check(experiment)
    if (finished := folder.read_result()) is not None:
        identity.record(folder, identity.check(experiment, folder, options.accept_code_change))
        for name in sealed.damaged(folder.root):
            log.warning(
                "%s is damaged: it is not what the run wrote; restore it, or delete the folder and train again",
                folder.root / name,
            )
        return finished
    check_calls(experiment, options)
    shapes = check(experiment, begun=folder.checkpoints.exists())
    code = identity.check(experiment, folder, options.accept_code_change)
    layout = lay_out(experiment, options.placement)
    with clock.phase("input"):
        records = splits or open_splits(experiment, options)
    compare_batch(experiment, records["train"])
    check_tokens(experiment, shapes.state.params, options)
    for first in runs_before(experiment):
        before = dataclasses.replace(options, stop_after=None, profile=None, chaos=None)
        train(first, start_folder(first, folder.root, options), before)
    references = read_references(experiment, folder.root, options, layout)
    with (
        folder.claimed(clock.began) if is_main_process() else contextlib.nullcontext(),
        interruptible() as interrupted,
        contextlib.closing(Compilations()) as compilations,
    ):
        if is_main_process():
            folder.create(experiment, environment(), experiment.data.files(options.data_dir))
            identity.record(folder, code)
        with Checkpoints(
            folder.checkpoints,
            options.keep,
            errors=options.save_errors,
            references=digests_of(references),
            experiment=experiment,
        ) as checkpoints:
            run = Run(experiment, options, folder, clock, records, checkpoints, shapes, layout, references)
            profile = Profile(steps, folder.profile) if steps is not None and is_main_process() else None
            run.watch = Watch(run.progress.say, compilations, profile)
            run.faults = None if schedule is None else chaos.Faults(schedule, folder)
            if steps is not None and run.step >= steps.stop:
                run.progress.say("nothing is traced: the steps of --profile were taken before")
            try:
                run.train(interrupted)
                return run.finish()
            except BaseException as error:
                run.failed(error)
                raise
            finally:
                run.progress.close()
                run.watch.close()
                if run.faults is not None:
                    run.faults.close()


def schedule_of_faults(experiment: Experiment, options: RunOptions) -> chaos.Schedule:
    """Return what `options.chaos` asks for. Raises `UsageError` unless another process will start this one again."""
    schedule = chaos.check(experiment, options)
    if not chaos.supervised():
        raise UsageError("chaos kills the process it strikes: use the command python -m experiments.NAME train --chaos")
    return schedule


def open_splits(experiment: Experiment, options: RunOptions) -> Splits:
    """Return every split of the experiment's dataset, read into memory where it is small enough to be held there.

    Raises:
        UsageError, RunError: as `Data.open` and `Records.arrays`.
        Interrupted: a signal came; at once.
    """
    with interruptible(), at_once("data were read"):
        splits: Splits = {name: open_split(experiment, name, options) for name in get_args(Split)}
        for name, records in splits.items():
            hold(records, options.residency if name == "train" else "auto")
        return splits
