"""The update rule, its schedule and its regularisation, as one value."""

import dataclasses
import operator
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jax.typing import ArrayLike

from research.errors import WrongValueError
from research.fields import Count, Fraction, NonNegative, Rate, Switch, is_static_zero
from research.layers.activations import magnitude
from research.optimization.groups import Groups, factors, frozen
from research.optimization.schedules import Schedule, unit


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """An optax update rule whose every number may be an argument of the compiled step.

    A step clips the gradient, applies the rule, adds decoupled weight decay (Loshchilov and Hutter, 2019) and scales by
    the learning rate. Decay and penalties spare biases and the scales of norms, by their names also where a scan stacks
    those of all layers, and every other parameter with fewer than two axes. `adam` with weight decay is refused: that
    is `adamw`, or `l2`. Of several `groups` that name a parameter the last one counts.
    """

    algorithm: Literal["sgd", "momentum", "nesterov", "adam", "adamw", "adagrad"] = "adamw"
    """Update rule."""
    learning_rate: NonNegative = 1e-3
    """Peak learning rate."""
    schedule: Schedule = "cosine"
    """Shape of the learning rate after warm-up."""
    warmup: Count = 0
    """Steps of linear warm-up."""
    floor: Fraction = 0.0
    """Where the schedule ends, as a share of the peak."""
    momentum: Fraction = 0.9
    """Decay of the velocity; momentum and nesterov only."""
    b1: Fraction = 0.9
    """Decay of the first moment; adam and adamw only."""
    b2: Fraction = 0.999
    """Decay of the second moment; adam and adamw only."""
    eps: NonNegative = 1e-8
    """Added to the denominator, inside the root for adagrad; adam, adamw and adagrad only."""
    weight_decay: Switch = 0.0
    """Decoupled decay, scaled by the learning rate; 0 is off."""
    l1: Switch = 0.0
    """Factor of the sum of absolute values added to the loss; 0 is off."""
    l2: Switch = 0.0
    """Factor of half the sum of squares added to the loss; 0 is off."""
    clip_norm: Switch = 0.0
    """Greatest global norm of the gradient; 0 is off."""
    ema: Rate = 0.0
    """Decay of the moving average of the parameters, which evaluation then uses; 0 is off."""
    groups: Groups = ()
    """Parameters with a learning rate of their own, or none."""

    def __post_init__(self) -> None:
        if self.algorithm == "adam" and not is_static_zero(self.weight_decay):
            raise WrongValueError('optimizer.weight_decay needs algorithm "adamw"; with "adam" use optimizer.l2')

    def rate(self, step: ArrayLike, total: ArrayLike) -> jax.Array:
        """Return the learning rate at `step` of a run of `total` steps."""
        return self.learning_rate * unit(self.schedule, step, self.warmup, total, self.floor)

    def transformation(self, learning_rate: ArrayLike) -> optax.GradientTransformation:
        """Return the optax transformation at a given learning rate; its state does not depend on any number.

        Nothing is kept for frozen parameters, whose updates are zero.
        """
        chain = [] if is_static_zero(self.clip_norm) else [optax.clip_by_global_norm(self.clip_norm)]
        chain.append(self._rule())
        if not is_static_zero(self.weight_decay):
            chain.append(optax.add_decayed_weights(self.weight_decay, mask=decayed))
        chain.append(optax.scale_by_learning_rate(learning_rate))
        if not self.groups:
            return optax.chain(*chain)
        scaled = optax.stateless(lambda updates, _: jax.tree.map(jnp.multiply, updates, factors(self.groups, updates)))
        trained = optax.masked(optax.chain(*chain, scaled), lambda tree: jax.tree.map(operator.not_, self.frozen(tree)))
        return optax.chain(trained, optax.masked(optax.set_to_zero(), self.frozen))

    def frozen(self, tree: Any, below: int = 0) -> Any:
        """Return a mask over parameters, or from `below` levels down over other variables: True where frozen."""
        return frozen(self.groups, tree, below)

    def _rule(self) -> optax.GradientTransformation:
        """Return the update rule alone, before decay and learning rate."""
        match self.algorithm:
            case "sgd":
                return optax.identity()
            case "momentum" | "nesterov":
                return optax.trace(self.momentum, nesterov=self.algorithm == "nesterov")
            case "adam" | "adamw":
                return optax.scale_by_adam(self.b1, self.b2, self.eps)
            case "adagrad":
                return optax.scale_by_rss(initial_accumulator_value=0.1, eps=self.eps)

    def penalty(self, params: Any) -> jax.Array:
        """Return l1 * sum |w| + l2 / 2 * sum w^2 over the decayed parameters that are not frozen, a scalar."""
        counts = jax.tree.map(lambda decay, still: decay and not still, decayed(params), self.frozen(params))
        weights = [w for w, keep in zip(jax.tree.leaves(params), jax.tree.leaves(counts), strict=True) if keep]
        penalty = jnp.float32(0)
        if not is_static_zero(self.l1):
            penalty += self.l1 * sum(magnitude(w).sum() for w in weights)
        if not is_static_zero(self.l2):
            penalty += 0.5 * self.l2 * sum(jnp.square(w).sum() for w in weights)
        return penalty


def decayed(params: Any) -> Any:
    """Return a mask over `params`: True for kernels and embeddings, False for biases and scales of norms."""

    def counts(path: tuple[Any, ...], parameter: jax.Array) -> bool:
        """Return whether the parameter at a path decays."""
        return parameter.ndim > 1 and jax.tree_util.keystr(path[-1:], simple=True) not in ("bias", "scale")

    return jax.tree_util.tree_map_with_path(counts, params)
