"""What a run does about numbers that are not finite: whether it continues, and where they came from."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from research.data import TrainingOrder
from research.devices import agreed
from research.errors import RunError
from research.experiment import Experiment, Hyperparameters, join
from research.training.update.gradient import gradient
from research.training.update.references import NONE, References
from research.training.update.skipping import IN_A_ROW, NONFINITE, SPIKE, TAKEN
from research.training.update.state import TrainState
from research.training.update.step import training_batch

SHOWN = 5  # row numbers of a batch that a line names


class Diverged(RunError):
    """A run whose numbers are no longer finite; what is saved is from before."""


class NotFinite(Diverged):
    """Something is not finite at `step`; where `again`, the steps from the last checkpoint are to be taken again.

    It is a `leaf` of the state after that many steps, or else what is computed at the update of that number.
    """

    def __init__(self, step: int, again: bool, leaf: str | None = None) -> None:
        self.what = leaf or "the loss or its gradient"
        super().__init__(f"{self.what} is not finite at step {step}")
        self.step, self.again, self.leaf = step, again, leaf


class NonFiniteMonitor:
    """Decides what follows a fault, by the experiment's `nonfinite`; `order` is that of the training examples."""

    def __init__(self, experiment: Experiment, order: TrainingOrder, say: Callable[[str], None]) -> None:
        self._experiment, self._order, self._say = experiment, order, say
        self._tried: set[tuple[str, int]] = set()
        self._row = 0

    def begin(self, state: TrainState) -> None:
        """Take note that a run resumes from `state`."""
        self._row = 0 if state.skipped is None else int(np.asarray(state.skipped)[1])

    def look(self, step: int, faults: np.ndarray) -> None:
        """Take note of what came of the updates from `step` on, and say which are left out.

        Raises:
            NotFinite: the run cannot continue from there.
        """
        for update, fault in enumerate(faults.tolist(), start=step + 1):
            if fault == TAKEN:
                self._row = 0
                continue
            if fault == NONFINITE:
                if self._experiment.safety.nonfinite == "stop":
                    raise NotFinite(update, again=False)
                if self._first_time("update", update):
                    raise NotFinite(update, again=True)
                if self._row == IN_A_ROW:
                    raise NotFinite(update, again=False)
            self._row += 1
            why = "its loss leaps" if fault == SPIKE else "its loss or gradient is not finite"
            self._say(f"step {update} is left out: {why}; {rows_of(self.rows(update))}")

    def check(self, state: TrainState) -> None:
        """Raise `NotFinite` where a state that is about to be saved, in any process, is not finite."""
        leaf = first_not_finite(state)
        if not agreed(leaf is None):
            step = int(state.step)
            raise NotFinite(step, self._first_time("state", step), leaf or "a part of the state in another process")

    def rows(self, update: int) -> list[int]:
        """Return which rows of the training split make up the batch of an update."""
        return self._order.indices_at(update - 1).tolist()

    def _first_time(self, kind: str, step: int) -> bool:
        """Return whether a fault is to be tried again, and remember that it was."""
        if self._experiment.safety.nonfinite != "rewind" or (kind, step) in self._tried:
            return False
        self._tried.add((kind, step))
        return True


def examine(
    program: Experiment, hyperparameters: Hyperparameters, state: TrainState, batch: Any, references: References = NONE
) -> dict[str, Any]:
    """Return what is finite at an update: the leaves of `state`, the loss, the `gradients` and their norm; and `rows`.

    All are scalars but the last, which are, of every float entry of the prepared batch, bool [b].
    """
    prepared = training_batch(program, hyperparameters, state.step, batch, references)
    found = gradient(join(program, hyperparameters), state, prepared)
    floats = {name: x for name, x in prepared.items() if jnp.issubdtype(x.dtype, jnp.floating)}
    return {
        "state": jax.tree.map(_all_finite, state),
        "rows": {name: jnp.isfinite(x).reshape(len(x), -1).all(1) for name, x in floats.items()},
        "loss": _all_finite(found.loss),
        "gradients": jax.tree.map(_all_finite, found.gradients),
        "norm": _all_finite(optax.tree.norm(found.gradients)),
    }


def first_fault(findings: dict[str, Any], rows: Sequence[int]) -> tuple[str, list[int]] | None:
    """Return the first thing that is not finite by what `examine` found, and the rows of the training split it is in.

    `rows` are those of the batch. A state comes before the batch, that before the loss, and that before its gradients.
    """
    if leaf := _first_false(findings["state"]):
        return leaf, list(rows)
    for name, finite in findings["rows"].items():
        if not np.all(finite):
            return f'"{name}" in the batch', [row for row, good in zip(rows, finite, strict=True) if not good]
    if not findings["loss"]:
        return "the loss", list(rows)
    if leaf := _first_false(findings["gradients"]):
        return f"the gradient of {leaf}", list(rows)
    if not findings["norm"]:  # the sum of the squares of numbers that are finite
        return "the norm of the gradient", list(rows)
    return None


def first_not_finite(state: TrainState) -> str | None:
    """Return the path of the first leaf, of the parts this process holds, that is not finite; None where all are."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        parts = [shard.data for shard in leaf.addressable_shards] if isinstance(leaf, jax.Array) else [leaf]
        # On the host, where the state goes to be saved: 8 ms for 100 MB, of which the digests take 300.
        if not all(np.isfinite(np.asarray(part)).all() for part in parts):
            return _name(path)
    return None


def diverged(what: str, rows: Sequence[int], step: int, experiment: Experiment, saved: int | None) -> Diverged:
    """Return what to raise for a run that ends at `step`; `saved` is the step of its last checkpoint."""
    where = f"at step {step} of {experiment.steps}, {rows_of(rows)}"
    return Diverged(f"{what} is not finite {where}; {_remedy(experiment)}, and the same command {_goes_on(saved)}")


def passed(step: int, total: int, saved: int | None) -> Diverged:
    """Return what to raise where a fault at `step` did not come again when the steps before it were repeated."""
    return Diverged(
        f"the numbers at step {step} of {total} were not finite, but they were when the steps up to it were repeated, "
        f"so it was no fault of the experiment: the same command {_goes_on(saved)}"
    )


def rows_of(rows: Sequence[int]) -> str:
    """Return the first few row numbers in words: ``rows 3, 14, 15, 92, 65 and 252 more of the training split``."""
    shown = ", ".join(map(str, rows[:SHOWN]))
    more = f" and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    return f"row{'s' if len(rows) > 1 else ''} {shown}{more} of the training split"


def _remedy(experiment: Experiment) -> str:
    """Return what may help; a run that rewinds also skips what comes again."""
    if experiment.safety.nonfinite == "stop":
        return "a lower optimizer.learning_rate, a smaller optimizer.clip_norm or safety.nonfinite skip may help"
    return "a lower optimizer.learning_rate or a smaller optimizer.clip_norm may help"


def _goes_on(saved: int | None) -> str:
    """Return where a run resumes."""
    return "begins again: nothing is saved yet" if saved is None else f"resumes from the checkpoint of step {saved}"


def _all_finite(x: jax.Array) -> jax.Array:
    """Return whether all of an array is finite."""
    return jnp.isfinite(x).all()


def _first_false(tree: Any) -> str | None:
    """Return the path of the first leaf that is False."""
    return next((_name(path) for path, leaf in jax.tree_util.tree_leaves_with_path(tree) if not leaf), None)


def _name(path: Any) -> str:
    """Return a path as users write it: ``params.dense_0.kernel``."""
    return jax.tree_util.keystr(path, simple=True, separator=".")
