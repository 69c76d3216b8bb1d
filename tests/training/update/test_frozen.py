"""Frozen parameters and all that belongs to them stay as they are to the last bit, and cost no backward pass."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.data import Images
from research.devices import compile_for
from research.errors import UsageError
from research.experiment import Experiment, replace, spec, split
from research.optimization import Group, Optimizer
from research.tasks import Classification
from research.training import check, init, train_step


class Normed(nn.Module):
    """Two convolutions with batch norm, and a head."""

    classes: int = 10

    @nn.compact
    def __call__(self, x, train=True):
        for number in range(2):
            x = nn.Conv(3 + 2 * number, (3, 3), strides=2, name=f"conv_{number}")(x)
            x = nn.relu(nn.BatchNorm(use_running_average=not train, name=f"norm_{number}")(x))
        return nn.Dense(self.classes, name="head")(x.mean(axis=(1, 2)))


EVERYTHING = Optimizer("adamw", learning_rate=0.1, weight_decay=0.1, clip_norm=1.0, ema=0.7, l1=0.01, l2=0.01)
BASE = Experiment(Normed(), Classification(), Images("digits", shift=1), EVERYTHING, steps=9, batch_size=23)
FIRST = ("conv_0", "norm_0")


def frozen(*paths, factor=0.0):
    return replace(BASE, {"optimizer.groups": (Group(paths, factor),)})


@pytest.fixture(scope="module")
def batch():
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (23, 8, 8, 1), np.uint8)
    return {"image": jnp.asarray(images), "label": jnp.asarray(generator.integers(0, 10, 23), jnp.int32)}


def after_five(experiment, batch):
    program, hyperparameters = split(experiment)
    state, step = init(experiment, jax.random.key(0)), compile_for(train_step, program)
    first = state
    for _ in range(5):
        state, metrics = step(hyperparameters, state, batch)
    return first, state, metrics


def named(tree, names):
    return {name: tree[name] for name in names}


def test_after_five_steps_nothing_frozen_has_changed(batch):
    first, last, metrics = after_five(frozen(*FIRST), batch)
    for old, new in ((first.params, last.params), (first.ema, last.ema)):
        chex.assert_trees_all_equal(named(old, FIRST), named(new, FIRST))
    before, statistics = first.variables["batch_stats"], last.variables["batch_stats"]
    chex.assert_trees_all_equal(before["norm_0"], statistics["norm_0"])
    assert not np.array_equal(before["norm_1"]["mean"], statistics["norm_1"]["mean"])
    for name in ("conv_1", "norm_1", "head"):
        changed = jax.tree.map(lambda a, b: not np.array_equal(a, b), first.params[name], last.params[name])
        assert any(jax.tree.leaves(changed))
    learning = sum(leaf.size for name in ("conv_1", "norm_1", "head") for leaf in jax.tree.leaves(last.params[name]))
    assert sum(leaf.size for leaf in jax.tree.leaves(last.opt_state) if leaf.ndim) == 2 * learning
    assert np.isfinite(metrics["objective"]) and metrics["gradient_norm"] > 0


def convolutions(experiment):
    """How many convolutions a training step has."""
    program, hyperparameters = split(experiment)
    state = jax.eval_shape(lambda: init(experiment, jax.random.key(0)))
    text = compile_for(train_step, program).lower(hyperparameters, state, spec(experiment)).as_text()
    return text.count("stablehlo.convolution")


def test_a_frozen_trunk_costs_no_backward_pass():
    forward = 2
    assert convolutions(BASE) == forward + 3  # by both kernels, and by the input of the second
    assert convolutions(frozen(*FIRST)) == forward + 1
    assert convolutions(frozen(*FIRST, "conv_1", "norm_1")) == forward
    assert convolutions(frozen(*FIRST, factor=0.1)) == convolutions(BASE)


def test_an_unknown_path_is_refused_before_training():
    check(frozen(*FIRST))
    with pytest.raises(UsageError, match='model has no parameters "conv_O"; did you mean .*"conv_0"'):
        check(frozen("conv_O"))
