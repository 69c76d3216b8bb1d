"""One step of training, evaluation and prediction: pure functions of program, hyperparameters, state and batch."""

from typing import Any

import jax
import optax

from research.data import gather
from research.experiment import Experiment, Hyperparameters, join
from research.fields import is_off
from research.training.state import AUGMENTATION, DROPOUT, TrainState, init, stream

Metrics = dict[str, Any]


def init_state(program: Experiment, hyperparameters: Hyperparameters) -> TrainState:
    """Return the state before the first step, from the experiment's own seed."""
    experiment = join(program, hyperparameters)
    return init(experiment, jax.random.key(experiment.seed))


def train_step(
    program: Experiment, hyperparameters: Hyperparameters, state: TrainState, batch: Any
) -> tuple[TrainState, Metrics]:
    """Return the state after one update, and metrics of the state before it.

    `batch` is a dictionary of raw arrays with a leading batch axis, or `Rows` still to be gathered. Metrics are
    scalars, but for `sums`, which the task summarises on the host.
    """
    experiment = join(program, hyperparameters)
    model, task, optimizer = experiment.model, experiment.task, experiment.optimizer
    key = jax.random.key(experiment.seed)
    batch = experiment.data.preprocess(gather(batch), stream(key, AUGMENTATION, state.step))

    def objective(params: Any) -> tuple[jax.Array, Any]:
        """Return the minimised loss, and what else the forward pass gives."""
        outputs, variables = task.forward(model, params, state.variables, batch, stream(key, DROPOUT, state.step))
        sums = task.measure(outputs, batch)
        return task.objective(sums) + optimizer.penalty(params), (sums, variables)

    (loss, (sums, variables)), gradients = jax.value_and_grad(objective, has_aux=True)(state.params)
    learning_rate = optimizer.rate(state.step, experiment.steps)
    updates, opt_state = optimizer.transformation(learning_rate).update(gradients, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    ema = None if is_off(optimizer.ema) else optax.incremental_update(params, state.ema, 1 - optimizer.ema)
    metrics = {
        "sums": sums,
        "objective": loss,
        "learning_rate": learning_rate,
        "gradient_norm": optax.tree.norm(gradients),
        "update_norm": optax.tree.norm(updates),
        "parameter_norm": optax.tree.norm(state.params),
    }
    return TrainState(state.step + 1, params, variables, opt_state, ema), metrics


def eval_step(program: Experiment, hyperparameters: Hyperparameters, state: TrainState, batch: Any) -> Any:
    """Return the task's sums over a batch; the moving average of the parameters is used where there is one."""
    experiment = join(program, hyperparameters)
    batch = experiment.data.preprocess(gather(batch))
    return experiment.task.evaluate(experiment.model, state.evaluated, state.variables, batch)


def predict_step(program: Experiment, hyperparameters: Hyperparameters, state: TrainState, batch: Any) -> Any:
    """Return the task's predictions for a batch, arrays with a leading batch axis."""
    experiment = join(program, hyperparameters)
    batch = experiment.data.preprocess(gather(batch))
    return experiment.task.predict(experiment.model, state.evaluated, state.variables, batch)
