"""One step of training, evaluation and prediction: pure functions of program, hyperparameters, state and batch."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from research.data import IndexedBatch, gather
from research.experiment import Experiment, Hyperparameters, join
from research.fields import is_static_zero
from research.kernels.choice import forward_mode
from research.optimization.groups import where_frozen
from research.training.update.gradient import gradient
from research.training.update.references import NONE, References, observed
from research.training.update.skipping import apply_skip_policy, loss_fault, may_skip
from research.training.update.state import AUGMENTATION, TrainState, init, stream

Metrics = dict[str, Any]
Step = Callable[..., tuple[TrainState, Metrics]]


def init_state(program: Experiment, hyperparameters: Hyperparameters) -> TrainState:
    """Return the state before the first step, from the experiment's own seed."""
    experiment = join(program, hyperparameters)
    return init(experiment, jax.random.key(experiment.seed))


def training_batch(
    program: Experiment, hyperparameters: Hyperparameters, step: Any, batch: Any, references: References = NONE
) -> Any:
    """Return a raw batch as the training step number `step` prepares and augments it, with what references give."""
    experiment = join(program, hyperparameters)
    key = jax.random.key(experiment.seed)
    prepared = experiment.data.preprocess(gather(batch), stream(key, AUGMENTATION, step))
    return observed(experiment, prepared, references)


def train_step(
    program: Experiment, hyperparameters: Hyperparameters, state: TrainState, batch: Any, references: References = NONE
) -> tuple[TrainState, Metrics]:
    """Return the state after one update, and metrics of the state before it.

    `batch` is a dictionary of raw arrays with a leading batch axis, or an `IndexedBatch` to be gathered. `references`
    are the collections of the frozen networks that the task looks at, by name. Metrics are scalars, but for `sums`,
    which the task summarises on the host; `fault` is what came of the update.
    """
    prepared = training_batch(program, hyperparameters, state.step, batch, references)
    return update(program, hyperparameters, state, prepared)


def update(
    program: Experiment, hyperparameters: Hyperparameters, state: TrainState, batch: Any
) -> tuple[TrainState, Metrics]:
    """Return what `train_step` does, of a batch that is prepared; on replicas, of this one's rows of the batch.

    Nothing is differentiated by frozen parameters, and they and the variables below them stay as they are to the last
    bit.
    """
    experiment = join(program, hyperparameters)
    optimizer = experiment.optimizer
    frozen = optimizer.frozen(state.params)
    loss, sums, variables, gradients = gradient(experiment, state, batch)
    # Metrics read gradients and updates too. Each is computed apart from its readers, so that a program without metrics
    # (`silent_step`) has the same state to the last bit.
    gradients = jax.lax.optimization_barrier(gradients)
    learning_rate = optimizer.rate(state.step, experiment.steps)
    updates, opt_state = optimizer.transformation(learning_rate).update(gradients, state.opt_state, state.params)
    updates = jax.lax.optimization_barrier(updates)
    params = where_frozen(frozen, state.params, optax.apply_updates(state.params, updates))
    variables = where_frozen(optimizer.frozen(variables, below=1), state.variables, variables)
    ema = None
    if not is_static_zero(optimizer.ema):
        ema = where_frozen(frozen, state.ema, optax.incremental_update(params, state.ema, 1 - optimizer.ema))
    gradient_norm = optax.tree.norm(gradients)
    after = TrainState(state.step + 1, params, variables, opt_state, ema, state.skipped, state.losses)
    after, fault = apply_skip_policy(experiment, state, after, loss, gradient_norm)
    metrics = {
        "sums": sums,
        "objective": loss,
        "learning_rate": learning_rate,
        "gradient_norm": gradient_norm,
        "update_norm": optax.tree.norm(updates),
        "parameter_norm": optax.tree.norm(state.params),
        "fault": fault,
    }
    if may_skip(experiment):
        metrics["skipped"] = after.skipped[0]
    return after, metrics


def replica_batches(
    program: Experiment, hyperparameters: Hyperparameters, state: TrainState, batch: Any, references: References = NONE
) -> Any:
    """Return a raw batch prepared for replicas, whose state has a leading axis of n: [n, b / n, ...] each."""
    n = len(state.step)
    prepared = training_batch(program, hyperparameters, state.step[0], batch, references)
    return jax.tree.map(lambda rows: rows.reshape(n, -1, *rows.shape[1:]), prepared)


def train_steps(
    program: Experiment,
    hyperparameters: Hyperparameters,
    state: TrainState,
    batches: Any,
    references: References = NONE,
) -> tuple[TrainState, Metrics]:
    """Return the state after one update for each batch in turn, and the metrics of the last one.

    `batches` are those of several steps, stacked along a first axis; of an `IndexedBatch` the indices alone. `fault` is
    what came of each, int32 [steps]; where no update is left out, of those before the last one by their losses alone.
    """
    rows = isinstance(batches, IndexedBatch)
    stacked = batches.indices if rows else batches
    last = len(jax.tree.leaves(stacked)[0]) - 1

    def take(index: Any, state: TrainState) -> tuple[TrainState, Metrics]:
        """Take the step of one of the batches."""
        batch = jax.tree.map(lambda each: jax.lax.dynamic_index_in_dim(each, index, keepdims=False), stacked)
        given = batches._replace(indices=batch) if rows else batch
        return train_step(program, hyperparameters, state, given, references)

    def take_silently(index: Any, carried: tuple[TrainState, jax.Array]) -> tuple[TrainState, jax.Array]:
        """Take the step of a batch before the last one, and keep of its metrics what came of it."""
        state, faults = carried
        state, metrics = take(index, state)
        fault = metrics["fault"] if may_skip(program) else loss_fault(metrics["objective"])
        return state, faults.at[index].set(fault)

    # The last one stands alone, so that the loop computes no metrics: they were a third of the time of a step of the
    # networks for which a call takes many.
    state, faults = jax.lax.fori_loop(0, last, take_silently, (state, jnp.zeros(last + 1, jnp.int32)))
    state, metrics = take(last, state)
    return state, {**metrics, "fault": faults.at[last].set(metrics["fault"])}


def silent(step: Step) -> Step:
    """Return what a step returns, of its metrics `fault` alone: compiled, the others are never computed."""

    @functools.wraps(step)
    def without_metrics(*arguments: Any) -> tuple[TrainState, Metrics]:
        state, metrics = step(*arguments)
        return state, {"fault": metrics["fault"]}

    return without_metrics


# Made once: what is compiled is remembered by the function.
silent_step, silent_steps = silent(train_step), silent(train_steps)


def step_of(count: int, reports: bool) -> Step:
    """Return what takes `count` steps in one call, with metrics where the call `reports`."""
    if count == 1:
        return train_step if reports else silent_step
    return train_steps if reports else silent_steps


def evaluation_batch(
    program: Experiment, hyperparameters: Hyperparameters, batch: Any, references: References = NONE
) -> Any:
    """Return a raw batch prepared without augmentation, with what references give for it."""
    experiment = join(program, hyperparameters)
    return observed(experiment, experiment.data.preprocess(gather(batch)), references)


def eval_step(
    program: Experiment, hyperparameters: Hyperparameters, state: TrainState, batch: Any, references: References = NONE
) -> Any:
    """Return the task's sums over a batch; the moving average of the parameters is used where there is one."""
    experiment, batch = join(program, hyperparameters), evaluation_batch(program, hyperparameters, batch, references)
    with forward_mode(program.forward_mode):
        return experiment.task.evaluate(experiment.model, state.evaluated, state.variables, batch)


def predict_step(
    program: Experiment, hyperparameters: Hyperparameters, state: TrainState, batch: Any, references: References = NONE
) -> Any:
    """Return the task's predictions for a batch, arrays with a leading batch axis."""
    experiment, batch = join(program, hyperparameters), evaluation_batch(program, hyperparameters, batch, references)
    with forward_mode(program.forward_mode):
        return experiment.task.predict(experiment.model, state.evaluated, state.variables, batch)
