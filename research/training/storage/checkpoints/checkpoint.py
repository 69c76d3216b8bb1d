"""Checkpoints: Orbax for the files, a digest of every leaf for the truth."""

import collections
import contextlib
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from research.devices import ONE_DEVICE, Layout, agreed, barrier, is_main_process
from research.errors import RunError
from research.experiment import Experiment, fingerprint
from research.training.storage.checkpoints.manifest import (
    FIELDS_OF_0_1_0,
    OtherState,
    digest_json,
    digests,
    first_difference,
    leaves,
    manifest,
)
from research.training.storage.checkpoints.orbax import cause, failures, named, silence_orbax
from research.training.storage.journal import Mark
from research.training.update.state import TrainState

log = logging.getLogger(__name__)

Kind = Literal["latest", "best"]


class Restored(NamedTuple):
    """A state, the seconds spent up to it, and how far its run's journal was; None where it says nothing of one."""

    state: TrainState
    seconds: dict[str, float]
    journal: Mark | None = None


class Checkpoints:
    """The checkpoints of one run: the latest few, and apart from them the best one.

    Saving is asynchronous, from a copy of the state, so the step may reuse its memory at once. Orbax commits a
    checkpoint by renaming, but restores a flipped bit without a word; so every leaf's digest is saved beside it, in a
    manifest that has one itself, and compared on restore. A damaged checkpoint is reported and the one before it is
    used; unless opened `read_only`, it is moved to `damaged/`, so that its step can be saved again.

    The manifest also ties a state to its run: `experiment` is that run's, and the state of another is refused.
    `references` are digests by name of the frozen networks that the run looks at: a state that was trained beside
    others is refused. None of either, to read a state alone, compares nothing.

    A save that fails is reported by the next call of any method, of which `look` costs nothing. With `errors` "stop" it
    raises; with "warn" a line is logged and only `wait` raises, where nothing has been saved since.
    """

    def __init__(
        self,
        folder: Path,
        keep: int = 2,
        read_only: bool = False,
        errors: Literal["stop", "warn"] = "stop",
        references: Mapping[str, str] | None = None,
        experiment: Experiment | None = None,
    ) -> None:
        self._references = references
        self._run = None if experiment is None else run_of(experiment)
        self._folder, self._read_only, self._errors = folder.absolute(), read_only, errors
        self._keep: dict[Kind, int] = {"latest": keep, "best": 1}
        self._opened: dict[Kind, Any] = {}
        self._saving: dict[Kind, int] = {}  # the steps that are being saved
        self._failed: dict[Kind, str] = {}  # why the last save failed, where it did
        self.left_out: list[tuple[Kind, int, str]] = []
        """Checkpoints found damaged: kind, step and reason."""

    def _manager(self, kind: Kind) -> Any:
        """Return the Orbax manager of one kind, opened on first use."""
        if kind not in self._opened:
            self._opened[kind] = self._open(kind)
        return self._opened[kind]

    def _open(self, kind: Kind) -> Any:
        """Open the Orbax manager of one kind."""
        import orbax.checkpoint as ocp  # only runs and restores need it

        silence_orbax()
        self._make(kind)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=self._keep[kind],
            create=not self._read_only,
            # Threads would wait for minutes for a folder that cannot be made, and the process for its threads.
            async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
            # Processes that save together meet at barriers, by name: those of the two kinds must not share any, as one
            # kind may still be on its way to disk when a save of the other begins.
            multiprocessing_options=ocp.options.MultiprocessingOptions(barrier_sync_key_prefix=kind),
        )
        manager = ocp.CheckpointManager(self._folder / kind, options=options, item_names=("state", "manifest"))
        # It would tell jax's service the number of a step where `stop_agreed` tells the number of its calls, so that
        # after a save of a resumed run the processes would agree on a call that is far away.
        manager.reached_preemption = lambda step: False
        return manager

    def _make(self, kind: Kind) -> None:
        """Make the folder of one kind; that it cannot be written is known now rather than at the first save."""
        if not self._read_only and is_main_process():
            (self._folder / kind).mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder / kind):
                pass

    def _steps(self, kind: Kind) -> list[int]:
        """Return the steps that are saved; where nothing is, without Orbax, whose import waits for the first save."""
        folder = self._folder / kind
        if kind not in self._opened and agreed(not (folder.exists() and any(folder.iterdir()))):
            self._make(kind)
            return []
        return sorted(self._manager(kind).all_steps())

    def on_disk(self, kind: Kind) -> list[int]:
        """Return the steps that are whole on disk, by the names of their folders, whatever is being saved meanwhile."""
        return sorted(int(path.name) for path in (self._folder / kind).glob("[0-9]*") if path.name.isdecimal())

    def save(
        self, kind: Kind, state: TrainState, seconds: dict[str, float] | None = None, journal: Mark | None = None
    ) -> None:
        """Start to save `state`; one already saved at its step stays. Raises `RunError` when a save fails."""
        import orbax.checkpoint as ocp

        # A copy: the buffers of `state` are donated to the next step. Several processes each save what they hold of it.
        copied = jax.tree.map(jnp.copy if jax.process_count() > 1 else np.array, state)
        step = int(copied.step)
        # A run resumes from the latest and does not come back to a best one before it: that must be there first.
        self._settle("best")
        self._settle(kind)
        with self._failing(kind, step):
            if step in self._manager(kind).all_steps():
                return
            facts: dict[str, Mapping[str, Any]] = {
                "run": self._run or {},
                "seconds": seconds or {},
                "references": self._references or {},
                "journal": {} if journal is None else journal.saved(),
            }
            arguments = ocp.args.Composite(
                state=ocp.args.StandardSave(copied), manifest=ocp.args.JsonSave(manifest(copied, **facts))
            )
            if not self._manager(kind).save(step, args=arguments, force=True):
                raise RunError(f"step {step} was not saved to {self._folder / kind}: a later checkpoint is there")
            self._saving[kind] = step

    def look(self) -> None:
        """Report a save that has failed, if one has, without waiting. Raises `RunError`."""
        for kind in [kind for kind in self._saving if not self._opened[kind].is_saving_in_progress()]:
            self._settle(kind)

    def wait(self) -> None:
        """Wait until everything is on disk. Raises `RunError` where the last save failed."""
        for kind in tuple(self._saving):
            self._settle(kind)
        for sentence in self._failed.values():
            raise RunError(sentence)

    def _settle(self, kind: Kind) -> None:
        """Wait for a save that is under way, and report it when it failed."""
        if kind in self._saving:
            with self._failing(kind, self._saving.pop(kind)):
                self._opened[kind].wait_until_finished()

    @contextlib.contextmanager
    def _failing(self, kind: Kind, step: int) -> Iterator[None]:
        """Report that what is within failed to save."""
        try:
            yield
        except (OSError, ValueError) as error:
            # Orbax takes the step for saved: what there is now is what the folder has.
            manager = self._opened.pop(kind, None)
            with contextlib.suppress(OSError, ValueError):
                if manager is not None:
                    manager.close()
            self._failed[kind] = f"saving step {step} to {self._folder / kind} failed: {cause(error)}"
            if self._errors == "stop":
                raise RunError(self._failed[kind]) from error
            log.warning("%s; continuing", self._failed[kind])
        else:
            self._failed.pop(kind, None)

    def restore(self, kind: Kind, abstract: TrainState, layout: Layout = ONE_DEVICE) -> Restored | None:
        """Return the newest undamaged state and what was saved beside it, or None where nothing was saved.

        It may have been saved from any other layout, by any number of processes.

        Raises:
            RunError: all that was saved is damaged, or it is the state of another run or of other code: a leaf differs
                from `abstract`.
        """
        with failures(self._folder):
            steps = self._steps(kind)
        for step in reversed(steps):
            try:
                saved = self._read_manifest(kind, step)
                self._check_run(saved.get("run"), kind, step)
                if differing := first_difference(saved["leaves"], leaves(abstract)):
                    raise OtherState(
                        f"{self._folder / kind / str(step)} was saved by other code: {differing}; go back to that "
                        "code, whose commit environment.json names, or train again in another folder"
                    )
                self._check_references(saved.get("references", {}), kind, step)
                state = self._read_state(kind, step, abstract, saved, layout)
                mark = Mark.of(saved["journal"]) if "journal" in saved else None
                return Restored(state, saved.get("seconds", {}), mark)
            except OtherState:
                raise
            except Exception as error:  # whatever Orbax raises on a file that is truncated, missing or garbage
                reason = cause(error)
                log.warning("checkpoint %s/%d is damaged and left out: %s", kind, step, reason)
                self.left_out.append((kind, step, reason))
                if not self._read_only:
                    self._set_aside(kind, step)
        if steps or any((self._folder / "damaged").glob(f"{kind}-*")):
            raise RunError(f"every {kind} checkpoint in {self._folder} is damaged; delete the folder to start again")
        return None

    def _check_run(self, saved: Mapping[str, Any] | None, kind: Kind, step: int) -> None:
        """Raise `RunError` where a state is that of another run; those of older releases do not say."""
        if saved is not None and self._run is not None and saved != self._run:
            was, this = (f"{run['fingerprint']} seed {run['seed']}" for run in (saved, self._run))
            raise OtherState(
                f"{self._folder / kind / str(step)} is a state of the run {was}, and experiment.json is that of the "
                f"run {this}: put back the one that belongs to the other, or choose another folder"
            )

    def _check_references(self, saved: Mapping[str, str], kind: Kind, step: int) -> None:
        """Raise `RunError` where a state was trained beside other frozen networks than this run's."""
        for name, digest in (self._references or {}).items():
            if saved.get(name, digest) != digest:  # a state that `begin` wrote, before any step, looked at none
                raise OtherState(
                    f'{self._folder / kind / str(step)} was trained with another reference "{name}" than there is now: '
                    "put the one that it was trained with back, or choose another folder"
                )

    def _read_manifest(self, kind: Kind, step: int) -> dict[str, Any]:
        """Return the manifest of a checkpoint. Raises where it is damaged."""
        import orbax.checkpoint as ocp

        arguments = ocp.args.Composite(manifest=ocp.args.JsonRestore())
        try:
            saved = _in_all(lambda: self._reader(kind).restore(step, args=arguments).manifest)
            digest = saved.pop("digest")
        except Exception as error:  # whatever Orbax raises
            raise ValueError(f"its manifest cannot be read: {cause(error)}") from error
        if digest != digest_json(saved):
            raise ValueError("the digest of its manifest does not agree")
        if saved.get("step", step) != step:
            raise ValueError(f"it is the state of step {saved['step']}")
        return saved

    def _read_state(
        self, kind: Kind, step: int, abstract: TrainState, saved: dict[str, Any], layout: Layout
    ) -> TrainState:
        """Return a state whose digests agree. Raises where they do not."""
        import orbax.checkpoint as ocp

        # Orbax compares fields as well, even those that are None, so it is asked for those that there were.
        fields: list[str] = list(saved.get("fields", FIELDS_OF_0_1_0))
        form: Any = collections.namedtuple("form", fields)  # type: ignore[misc]
        target = form(*(getattr(_wanted(abstract, layout), name, None) for name in fields))
        arguments = ocp.args.Composite(state=ocp.args.StandardRestore(target))
        try:
            found = _in_all(lambda: self._reader(kind).restore(step, args=arguments).state)._asdict()
            state = TrainState(**{name: found.get(name) for name in TrainState._fields})
        except Exception as error:  # whatever Orbax raises
            raise ValueError(f"{named(error, abstract)} cannot be read: {cause(error)}") from error
        actual = digests(state, saved.get("algorithm", "blake2b"))
        if wrong := [path for path, digest in saved["digests"].items() if actual[path] != digest]:
            raise ValueError(f"the digest of {wrong[0]} does not agree")
        return layout.put(state)

    def _reader(self, kind: Kind) -> Any:
        """Return a manager that reads in this process alone, waiting for no other one; there is one for each call."""
        import orbax.checkpoint as ocp

        if jax.process_count() == 1:
            return self._manager(kind)
        index = jax.process_index()
        alone = ocp.options.MultiprocessingOptions(
            primary_host=index, active_processes={index}, barrier_sync_key_prefix=f"process_{index}"
        )
        options = ocp.CheckpointManagerOptions(create=False, multiprocessing_options=alone)
        return ocp.CheckpointManager(self._folder / kind, options=options, item_names=("state", "manifest"))

    def forget_best_after(self, step: int) -> None:
        """Delete best checkpoints later than `step`: a run resumed there comes to them again."""
        for later in [saved for saved in self._manager("best").all_steps() if saved > step]:
            self._manager("best").delete(later)

    def _set_aside(self, kind: Kind, step: int) -> None:
        """Move a damaged checkpoint out of the way, replacing an older one set aside at the same step."""
        source, target = self._folder / kind / str(step), self._folder / "damaged" / f"{kind}-{step}"
        if is_main_process():
            with failures(self._folder):
                shutil.rmtree(target, ignore_errors=True)
                target.parent.mkdir(exist_ok=True)
                shutil.move(source, target)
        barrier(f"{target.name} is set aside")
        self._manager(kind).reload()

    def close(self) -> None:
        """Wait for what is being saved and release the threads. Raises `RunError` where a save failed."""
        for kind in tuple(self._saving):
            self._settle(kind)
        with failures(self._folder):
            for manager in self._opened.values():
                manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, Exception):  # a second Ctrl-C does not wait
            self.close()


def run_of(experiment: Experiment) -> dict[str, Any]:
    """Return what tells a run from others: what is computed, and with which seed."""
    return {"fingerprint": fingerprint(experiment), "seed": experiment.seed}


def _in_all(read: Callable[[], Any]) -> Any:
    """Return what `read` gives; where it fails in some process, raise in all, so that all continue alike."""
    found, failure = None, None
    try:
        found = read()
    except Exception as error:  # whatever Orbax raises
        failure = error
    if not agreed(failure is None):
        raise failure or ValueError("another process could not read its part")
    return found


def _wanted(abstract: TrainState, layout: Layout) -> TrainState:
    """Return what Orbax is to restore: whole arrays on the host; in several processes what each holds of them."""
    if layout.mesh is not None and jax.process_count() > 1:
        return layout.described(abstract)
    return jax.tree.map(lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape), abstract)
