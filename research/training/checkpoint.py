"""Checkpoints: Orbax for the files, a digest of every leaf for the truth."""

import contextlib
import hashlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from research.errors import RunError
from research.training.state import TrainState

log = logging.getLogger(__name__)

Kind = Literal["latest", "best"]


class Checkpoints:
    """The checkpoints of one run: the latest few, and apart from them the best one.

    Saving is asynchronous, from a copy of the state, so the step may reuse its memory at once. Orbax commits a
    checkpoint by renaming, but restores a flipped bit without a word; so every leaf's digest is saved beside it and
    compared on restore. A damaged checkpoint is reported, moved to `damaged/` and the one before it is used.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self._folder = folder.absolute()
        self._managers = {"latest": self._open("latest", keep), "best": self._open("best", 1)}

    def _open(self, kind: Kind, keep: int) -> Any:
        """Return the Orbax manager of one kind."""
        import orbax.checkpoint as ocp  # slow to import, and most commands do not save

        options = ocp.CheckpointManagerOptions(max_to_keep=keep, create=True)
        return ocp.CheckpointManager(self._folder / kind, options=options, item_names=("state", "manifest"))

    def save(self, kind: Kind, state: TrainState, seconds: dict[str, float] | None = None) -> None:
        """Start to save `state`; one already saved at its step stays. Raises `RunError` when a save fails."""
        import orbax.checkpoint as ocp

        host = jax.tree.map(np.array, state)  # a copy: the buffers of `state` are donated to the next step
        step, manager = int(host.step), self._managers[kind]
        if step in manager.all_steps():
            return
        manifest = {"digests": digests(host), "seconds": seconds or {}}
        arguments = ocp.args.Composite(state=ocp.args.StandardSave(host), manifest=ocp.args.JsonSave(manifest))
        with _failures(self._folder):
            if not manager.save(step, args=arguments, force=True):
                raise RunError(f"step {step} was not saved to {self._folder / kind}: a later checkpoint is there")

    def wait(self) -> None:
        """Wait until everything is on disk. Raises `RunError` when a save failed."""
        with _failures(self._folder):
            for manager in self._managers.values():
                manager.wait_until_finished()

    def restore(self, kind: Kind, abstract: TrainState) -> tuple[TrainState, dict[str, float]] | None:
        """Return the newest undamaged state and the seconds spent up to it, or None where nothing was saved.

        Raises:
            RunError: there are checkpoints, and all of them are damaged.
        """
        steps = sorted(self._managers[kind].all_steps(), reverse=True)
        for step in steps:
            try:
                return self._read(kind, step, abstract)
            except Exception as error:  # whatever Orbax raises on a file that is truncated, missing or garbage
                reason = str(error).splitlines()[0] if str(error) else type(error).__name__
                log.warning("checkpoint %s/%d is damaged and set aside: %s", kind, step, reason[:200])
                self._set_aside(kind, step)
        if steps:
            raise RunError(f"every checkpoint in {self._folder / kind} is damaged; they are kept in damaged/")
        return None

    def _read(self, kind: Kind, step: int, abstract: TrainState) -> tuple[TrainState, dict[str, float]]:
        """Return a state whose digests agree, and its seconds."""
        import orbax.checkpoint as ocp

        arguments = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), manifest=ocp.args.JsonRestore())
        restored = self._managers[kind].restore(step, args=arguments)
        host = jax.tree.map(np.asarray, restored.state)
        found, expected = digests(host), restored.manifest["digests"]
        if wrong := [path for path in expected.keys() | found.keys() if expected.get(path) != found.get(path)]:
            raise RunError(f"the digest of {sorted(wrong)[0]} does not agree")
        return jax.tree.map(jax.numpy.asarray, host), restored.manifest["seconds"]

    def forget_best_after(self, step: int) -> None:
        """Delete best checkpoints later than `step`: a run resumed there comes to them again."""
        for later in [saved for saved in self._managers["best"].all_steps() if saved > step]:
            self._managers["best"].delete(later)

    def _set_aside(self, kind: Kind, step: int) -> None:
        """Move a damaged checkpoint out of the way, replacing an older one set aside at the same step."""
        source, target = self._folder / kind / str(step), self._folder / "damaged" / f"{kind}-{step}"
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(exist_ok=True)
        shutil.move(source, target)
        self._managers[kind].reload()

    def close(self) -> None:
        """Wait for what is being saved and release the threads."""
        with _failures(self._folder):
            for manager in self._managers.values():
                manager.close()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, Exception):  # a second Ctrl-C does not wait
            self.close()


def digests(state: Any) -> dict[str, str]:
    """Return a digest of every leaf of `state` over its path, type, shape and bytes, by path."""

    def digest(path: str, leaf: np.ndarray) -> str:
        header = f"{path} {leaf.dtype} {leaf.shape}".encode()
        return hashlib.blake2b(header + np.ascontiguousarray(leaf).tobytes(), digest_size=16).hexdigest()

    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {path: digest(path, np.asarray(leaf)) for path, leaf in ((jax.tree_util.keystr(p), x) for p, x in leaves)}


@contextlib.contextmanager
def _failures(folder: Path) -> Iterator[None]:
    """Turn what Orbax raises when it cannot write into one sentence."""
    try:
        yield
    except (OSError, ValueError) as error:
        raise RunError(f"saving to {folder} failed: {str(error).splitlines()[0]}") from error
