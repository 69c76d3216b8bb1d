"""The gradient of a batch, computed at once or in parts."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from research.experiment import Experiment
from research.kernels.choice import forward_mode
from research.layers.replicas import mean_over_replicas, rows_of_replicas, sum_over_replicas
from research.optimization.groups import where_frozen
from research.training.update.state import DROPOUT, TrainState, stream


class Gradient(NamedTuple):
    """What one pass forward and back gives."""

    loss: jax.Array
    """The minimised loss, a scalar."""
    sums: Any
    """What the task sums over the batch."""
    variables: Any
    """The model's other collections, updated."""
    gradients: Any
    """Of the loss by the parameters; zero by the frozen ones."""


def gradient(experiment: Experiment, state: TrainState, batch: Any) -> Gradient:
    """Return the gradient over a prepared batch, of all replicas where there are some.

    The loss is the task's objective of the sums over the whole batch, however it is divided: a mean over tokens weighs
    every token alike, whichever part or device it is in.
    """
    with forward_mode(experiment.forward_mode):
        return (_in_parts if experiment.accumulation > 1 else _at_once)(experiment, state, batch)


def _at_once(experiment: Experiment, state: TrainState, batch: Any) -> Gradient:
    """Return the gradient over a batch computed as a whole."""

    def objective(params: Any) -> tuple[jax.Array, Any]:
        """Return the minimised loss, and what else the forward pass gives."""
        sums, variables = _measured(experiment, state, params, state.variables, batch)
        return experiment.task.objective(sums) + experiment.optimizer.penalty(params), (sums, variables)

    (loss, (sums, variables)), gradients = jax.value_and_grad(objective, has_aux=True)(state.params)
    return Gradient(loss, sums, variables, mean_over_replicas(gradients))


def _in_parts(experiment: Experiment, state: TrainState, batch: Any) -> Gradient:
    """Return the gradient over a batch computed in `experiment.accumulation` parts, one after the other.

    An objective is a weighted sum of sums that are linear in the losses of examples; its weights, such as one over the
    number of tokens, depend on the batch alone. So they are found without the model, and the parts' gradients add up.
    """
    task, optimizer, parts = experiment.task, experiment.optimizer, experiment.accumulation
    weights = _weights(experiment, state, batch)

    def part(carried: tuple[Any, Any], at: tuple[jax.Array, Any]) -> tuple[tuple[Any, Any], Any]:
        """Add the gradient of one part, whose batch norm continues from the part before."""
        gradients, variables = carried
        index, batch = at

        def weighted(params: Any) -> tuple[jax.Array, Any]:
            """Return this part's share of the objective, but for what does not depend on the parameters."""
            sums, updated = _measured(experiment, state, params, variables, batch, index)
            return sum((weight * sums[name]).sum() for name, weight in weights.items()), (sums, updated)

        found, (sums, updated) = jax.grad(weighted, has_aux=True)(state.params)
        return (jax.tree.map(jnp.add, gradients, found), updated), sums

    start = jax.grad(optimizer.penalty)(state.params)
    (gradients, variables), each = jax.lax.scan(
        part, (start, state.variables), (jnp.arange(parts), jax.tree.map(lambda x: divided(x, parts), batch))
    )
    sums = {name: _joined(stacked, name in task.concatenated) for name, stacked in each.items()}
    loss = task.objective(sums) + optimizer.penalty(state.params)
    return Gradient(loss, sums, variables, mean_over_replicas(gradients))


def _joined(parts: Any, concatenated: bool) -> Any:
    """Return what is summed over parts, [parts, ...], as one: added up, or the rows one behind the other."""
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]) if concatenated else x.sum(0), parts)


def _measured(
    experiment: Experiment, state: TrainState, params: Any, variables: Any, batch: Any, part: Any = None
) -> tuple[Any, Any]:
    """Return the task's sums over a batch of all replicas in training mode, and the updated variables."""
    key = stream(jax.random.key(experiment.seed), DROPOUT, state.step)
    key = key if part is None else jax.random.fold_in(key, part)
    params = where_frozen(experiment.optimizer.frozen(params), jax.lax.stop_gradient(params), params)
    outputs, variables = experiment.task.forward(experiment.model, params, variables, batch, key)
    return _over_replicas(experiment, experiment.task.measure(outputs, batch)), variables


def _over_replicas(experiment: Experiment, sums: Any) -> Any:
    """Return the sums of all replicas; rows one behind the other."""
    rows = experiment.task.concatenated
    return {name: rows_of_replicas(item) if name in rows else sum_over_replicas(item) for name, item in sums.items()}


def _weights(experiment: Experiment, state: TrainState, batch: Any) -> dict[str, jax.Array]:
    """Return the derivative of the objective by each of the sums it is linear in."""
    task = experiment.task

    def outputs(batch: Any) -> Any:
        """Return what the model gives in training."""
        key = jax.random.key(0)
        return task.forward(experiment.model, state.params, state.variables, batch, key)[0]

    nothing = jax.tree.map(lambda item: jnp.zeros(item.shape, item.dtype), jax.eval_shape(outputs, batch))
    sums = _over_replicas(experiment, task.measure(nothing, batch))
    linear = {name: item for name, item in sums.items() if name not in task.concatenated}
    floats = {name: item for name, item in linear.items() if jnp.issubdtype(item.dtype, jnp.floating)}
    return jax.grad(lambda floats: task.objective({**sums, **floats}))(floats)


def divided(rows: jax.Array, parts: int) -> jax.Array:
    """Return rows [b, ...] in parts [parts, b / parts, ...], every `parts`-th row in one: so devices keep theirs."""
    b = len(rows)
    return rows.reshape(b // parts, parts, *rows.shape[1:]).swapaxes(0, 1)
