"""What a run carries from step to step, and where its randomness comes from."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from research.experiment import Experiment, spec
from research.fields import is_static_zero
from research.kernels.choice import forward_mode
from research.training.update.skipping import WINDOW, may_skip

# Streams of randomness. A key is fold_in(fold_in(key(seed), stream), step): no generator state exists, none is saved.
INIT, DROPOUT, AUGMENTATION = range(3)


class TrainState(NamedTuple):
    """A run between two steps: arrays only, so that equal runs have equal trees.

    `step` int32 scalar, steps done; `params` float32; `variables` the model's other collections, such as batch
    statistics; `opt_state` of optax; `ema` the moving average of `params`, None where the optimizer keeps none;
    `skipped` int32 [2], updates left out in all and the last ones in a row, None where none ever is; `losses` float32
    [128], those of the last updates taken, the n-th at n modulo 128, None where no spike is looked for.
    """

    step: jax.Array
    params: Any
    variables: Any
    opt_state: Any
    ema: Any = None
    skipped: Any = None
    losses: Any = None

    @property
    def evaluated(self) -> Any:
        """The parameters that are evaluated: the moving average where there is one."""
        return self.params if self.ema is None else self.ema


def stream(key: jax.Array, name: int, step: jax.Array | int = 0) -> jax.Array:
    """Return the key of a stream at a step, from the run's key."""
    return jax.random.fold_in(jax.random.fold_in(key, name), step)


def init(experiment: Experiment, key: jax.Array) -> TrainState:
    """Return the state before the first step; `key` is `jax.random.key(experiment.seed)`. Pure and traceable."""
    example = {name: jnp.zeros((1, *item.shape[1:]), item.dtype) for name, item in spec(experiment).items()}
    inputs = experiment.task.inputs(experiment.model, experiment.data.preprocess(example))
    with forward_mode(experiment.forward_mode):
        variables = dict(experiment.model.init(stream(key, INIT), inputs, train=False))
    variables.pop("intermediates", None)
    params = variables.pop("params")
    return TrainState(
        step=jnp.int32(0),
        params=params,
        variables=variables,
        opt_state=experiment.optimizer.transformation(0.0).init(params),
        ema=None if is_static_zero(experiment.optimizer.ema) else jax.tree.map(jnp.copy, params),
        skipped=jnp.zeros(2, jnp.int32) if may_skip(experiment) else None,
        losses=None if is_static_zero(experiment.safety.spike) else jnp.zeros(WINDOW, jnp.float32),
    )


def count_parameters(state: TrainState) -> int:
    """Return the number of trained scalars."""
    return sum(parameter.size for parameter in jax.tree.leaves(state.params))
