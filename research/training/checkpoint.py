"""Checkpoints: Orbax for the files, a digest of every leaf for the truth."""

import contextlib
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from research.devices import ONE_DEVICE, Layout, agreed, barrier, leads, whole
from research.errors import RunError
from research.training.state import TrainState

log = logging.getLogger(__name__)

Kind = Literal["latest", "best"]


class Checkpoints:
    """The checkpoints of one run: the latest few, and apart from them the best one.

    Saving is asynchronous, from a copy of the state, so the step may reuse its memory at once. Orbax commits a
    checkpoint by renaming, but restores a flipped bit without a word; so every leaf's digest is saved beside it, in a
    manifest that has one itself, and compared on restore. A damaged checkpoint is reported and the one before it is
    used; unless opened `read_only`, it is moved to `damaged/`, so that its step can be saved again.
    """

    def __init__(self, folder: Path, keep: int = 2, read_only: bool = False) -> None:
        self._folder, self._read_only = folder.absolute(), read_only
        self._keep: dict[Kind, int] = {"latest": keep, "best": 1}
        self._opened: dict[Kind, Any] = {}

    def _manager(self, kind: Kind) -> Any:
        """Return the Orbax manager of one kind, opened on first use."""
        if kind not in self._opened:
            with _failures(self._folder):
                self._opened[kind] = self._open(kind)
        return self._opened[kind]

    def _open(self, kind: Kind) -> Any:
        """Open the Orbax manager of one kind."""
        import orbax.checkpoint as ocp  # only runs and restores need it

        options = ocp.CheckpointManagerOptions(max_to_keep=self._keep[kind], create=not self._read_only)
        manager = ocp.CheckpointManager(self._folder / kind, options=options, item_names=("state", "manifest"))
        # It would tell jax's service the number of a step where `stop_agreed` tells the number of its calls, so that
        # after a save of a resumed run the processes would agree on a call that is far away.
        manager.reached_preemption = lambda step: False
        return manager

    def save(self, kind: Kind, state: TrainState, seconds: dict[str, float] | None = None) -> None:
        """Start to save `state`; one already saved at its step stays. Raises `RunError` when a save fails."""
        import orbax.checkpoint as ocp

        # A copy: the buffers of `state` are donated to the next step. Several processes each save what they hold of it.
        copied = jax.tree.map(jnp.copy if jax.process_count() > 1 else np.array, state)
        step, manager = int(copied.step), self._manager(kind)
        if step in manager.all_steps():
            return
        arguments = ocp.args.Composite(
            state=ocp.args.StandardSave(copied), manifest=ocp.args.JsonSave(manifest(copied, seconds or {}))
        )
        with _failures(self._folder):
            # A run resumes from the latest and does not come back to a best one before it: that must be there first.
            if "best" in self._opened:
                self._opened["best"].wait_until_finished()
            if not manager.save(step, args=arguments, force=True):
                raise RunError(f"step {step} was not saved to {self._folder / kind}: a later checkpoint is there")

    def wait(self) -> None:
        """Wait until everything is on disk. Raises `RunError` when a save failed."""
        with _failures(self._folder):
            for manager in self._opened.values():
                manager.wait_until_finished()

    def restore(
        self, kind: Kind, abstract: TrainState, layout: Layout = ONE_DEVICE
    ) -> tuple[TrainState, dict[str, float]] | None:
        """Return the newest undamaged state and the seconds spent up to it, or None where nothing was saved.

        It may have been saved from any other layout, by any number of processes.

        Raises:
            RunError: all that was saved is damaged, or it is the state of other code: a leaf differs from `abstract`.
        """
        steps = sorted(self._manager(kind).all_steps(), reverse=True)
        for step in steps:
            try:
                saved = self._read_manifest(kind, step)
                if differing := first_difference(saved["leaves"], leaves(abstract)):
                    raise _OtherState(f"{self._folder / kind / str(step)} was saved by other code: {differing}")
                return self._read_state(kind, step, abstract, saved["digests"], layout), saved["seconds"]
            except _OtherState:
                raise
            except Exception as error:  # whatever Orbax raises on a file that is truncated, missing or garbage
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                log.warning("checkpoint %s/%d is damaged and left out: %s", kind, step, reason[:200])
                if not self._read_only:
                    self._set_aside(kind, step)
        if steps or any((self._folder / "damaged").glob(f"{kind}-*")):
            raise RunError(f"every {kind} checkpoint in {self._folder} is damaged; delete the folder to start again")
        return None

    def _read_manifest(self, kind: Kind, step: int) -> dict[str, Any]:
        """Return the manifest of a checkpoint. Raises where it is damaged."""
        import orbax.checkpoint as ocp

        arguments = ocp.args.Composite(manifest=ocp.args.JsonRestore())
        saved = _in_all(lambda: self._reader(kind).restore(step, args=arguments).manifest)
        if saved.pop("digest") != _digest_json(saved):
            raise ValueError("the digest of its manifest does not agree")
        return saved

    def _read_state(
        self, kind: Kind, step: int, abstract: TrainState, expected: dict[str, str], layout: Layout
    ) -> TrainState:
        """Return a state whose digests agree. Raises where they do not."""
        import orbax.checkpoint as ocp

        arguments = ocp.args.Composite(state=ocp.args.StandardRestore(_wanted(abstract, layout)))
        state = _in_all(lambda: self._reader(kind).restore(step, args=arguments).state)
        found = digests(state)
        if wrong := [path for path, digest in expected.items() if found[path] != digest]:
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
        if leads():
            shutil.rmtree(target, ignore_errors=True)
            target.parent.mkdir(exist_ok=True)
            shutil.move(source, target)
        barrier(f"{target.name} is set aside")
        self._manager(kind).reload()

    def close(self) -> None:
        """Wait for what is being saved and release the threads."""
        with _failures(self._folder):
            for manager in self._opened.values():
                manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, Exception):  # a second Ctrl-C does not wait
            self.close()


class _OtherState(RunError):
    """A sound checkpoint of another tree of parameters."""


def _in_all(read: Callable[[], Any]) -> Any:
    """Return what `read` gives; where it fails in some process, raise in all, so that all go on alike."""
    found, failure = None, None
    try:
        found = read()
    except Exception as error:  # whatever Orbax raises
        failure = error
    if not agreed(failure is None):
        raise failure or ValueError("another process could not read its part")
    return found


def manifest(state: Any, seconds: dict[str, float]) -> dict[str, Any]:
    """Return what is saved beside a state: its leaves, their digests, the seconds spent, and a digest of all that."""
    content = {"leaves": leaves(state), "digests": digests(state), "seconds": seconds}
    return {**content, "digest": _digest_json(content)}


def _wanted(abstract: TrainState, layout: Layout) -> TrainState:
    """Return what Orbax is to restore: whole arrays on the host; in several processes what each holds of them."""
    if layout.mesh is not None and jax.process_count() > 1:
        return layout.described(abstract)
    return jax.tree.map(lambda leaf: np.broadcast_to(np.zeros((), leaf.dtype), leaf.shape), abstract)


def leaves(state: Any) -> dict[str, str]:
    """Return type and shape of every leaf of a state, abstract or not, by path: ``float32(3, 3, 1, 32)``."""
    return {
        jax.tree_util.keystr(path): f"{leaf.dtype}{tuple(leaf.shape)}"
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    }


def first_difference(saved: dict[str, str], expected: dict[str, str]) -> str:
    """Return the first leaf that differs, in words, or nothing."""
    for path in sorted(saved.keys() | expected.keys()):
        if saved.get(path) != expected.get(path):
            return f"{path} is {saved.get(path, 'not there')} in it and {expected.get(path, 'not there')} now"
    return ""


def digests(state: Any) -> dict[str, str]:
    """Return a digest of every leaf of `state` over its path, type, shape and bytes, by path."""

    def digest(path: str, leaf: np.ndarray) -> str:
        header = f"{path} {leaf.dtype} {leaf.shape}".encode()
        return hashlib.blake2b(header + np.ascontiguousarray(leaf).tobytes(), digest_size=16).hexdigest()

    found = ((jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(state))
    return {path: digest(path, whole(leaf)) for path, leaf in found}


def _digest_json(tree: dict[str, Any]) -> str:
    """Return a digest of JSON types."""
    return hashlib.blake2b(json.dumps(tree, sort_keys=True).encode(), digest_size=16).hexdigest()


@contextlib.contextmanager
def _failures(folder: Path) -> Iterator[None]:
    """Turn what Orbax raises when it cannot write into one sentence."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise RunError(f"saving to {folder} failed: {str(error).splitlines()[0]}") from error
