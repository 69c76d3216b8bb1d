import dataclasses
import re
from typing import get_args, get_type_hints

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from research.errors import WrongValueError
from research.experiment import join, replace, split
from research.models import TransformerLanguageModel
from research.optimization import Optimizer, Schedule
from research.optimization.optimizer import decayed

ALGORITHMS = get_args(get_type_hints(Optimizer)["algorithm"])
RATE = 0.02


def tree(seed, scale=1.0):
    """Parameters as a CNN with a norm would have them."""
    generator = np.random.default_rng(seed)
    shapes = {
        "conv": {"kernel": (3, 3, 2, 5), "bias": (5,)},
        "norm": {"scale": (5,), "bias": (5,)},
        "dense": {"kernel": (7, 11), "bias": (11,)},
        "temperature": (),
    }
    return jax.tree.map(
        lambda shape: jnp.asarray(generator.normal(size=shape) * scale, jnp.float32),
        shapes,
        is_leaf=lambda node: isinstance(node, tuple),
    )


PARAMS = tree(0)
KERNELS = {"conv": {"kernel": True, "bias": False}, "norm": {"scale": False, "bias": False}}
KERNELS |= {"dense": {"kernel": True, "bias": False}, "temperature": False}

NUMBERS = {"momentum": 0.8, "b1": 0.7, "b2": 0.95, "eps": 1e-3, "weight_decay": 0.3}
ALIASES = {
    "sgd": lambda: optax.sgd(RATE),
    "momentum": lambda: optax.sgd(RATE, momentum=0.8),
    "nesterov": lambda: optax.sgd(RATE, momentum=0.8, nesterov=True),
    "adam": lambda: optax.adam(RATE, 0.7, 0.95, 1e-3),
    "adamw": lambda: optax.adamw(RATE, 0.7, 0.95, 1e-3, weight_decay=0.3, mask=KERNELS),
    "adagrad": lambda: optax.adagrad(RATE, eps=1e-3),
}


def optimizer_for(algorithm, **changes):
    numbers = NUMBERS | ({} if algorithm == "adamw" else {"weight_decay": 0.0})
    return Optimizer(algorithm, learning_rate=RATE, **(numbers | changes))


def trajectory(transformation, steps=20):
    """The parameters after each of some steps on gradients that change."""

    @jax.jit
    def step(params, state, gradients):
        updates, state = transformation.update(gradients, state, params)
        return optax.apply_updates(params, updates), state

    params, state, path = PARAMS, transformation.init(PARAMS), []
    for index in range(steps):
        params, state = step(params, state, tree(index + 1, scale=0.5))
        path.append(params)
    return path


def test_every_algorithm_is_compared_with_optax():
    assert set(ALIASES) == set(ALGORITHMS)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_algorithm_equals_that_of_optax_bit_for_bit(algorithm):
    expected = trajectory(ALIASES[algorithm]())
    chex.assert_trees_all_equal(trajectory(optimizer_for(algorithm).transformation(RATE)), expected)
    assert not np.array_equal(expected[-1]["dense"]["kernel"], PARAMS["dense"]["kernel"])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_numbers_as_arguments_give_the_same_updates(algorithm, experiment):
    """Changing any float of an optimizer traces nothing anew."""
    base = dataclasses.replace(
        experiment, optimizer=optimizer_for(algorithm, clip_norm=0.5, l1=0.1, l2=0.1, ema=0.5, warmup=2)
    )

    def update(program, hyperparameters, state, gradients):
        value = join(program, hyperparameters)
        optimizer = value.optimizer
        penalty, more = jax.value_and_grad(optimizer.penalty)(PARAMS)
        gradients = optax.tree.add(gradients, more)
        transformation = optimizer.transformation(optimizer.rate(3, value.steps))
        updates, state = transformation.update(gradients, state, PARAMS)
        return updates, state, penalty

    traced = jax.jit(chex.assert_max_traces(update, n=1), static_argnums=0)
    numbers = {
        f"optimizer.{name}": value / 2
        for name, value in dataclasses.asdict(base.optimizer).items()
        if isinstance(value, float) and value
    }
    assert len(numbers) >= 9
    gradients = tree(1)
    for overrides in [{}, *({path: value} for path, value in numbers.items()), {"optimizer.warmup": 5, "steps": 99}]:
        value = replace(base, overrides)
        state = value.optimizer.transformation(0.0).init(PARAMS)
        for _ in range(2):
            updates, state, penalty = traced(*split(value), state, gradients)
    value = replace(base, numbers)
    state = value.optimizer.transformation(0.0).init(PARAMS)
    got = traced(*split(value), state, gradients)
    more = jax.grad(value.optimizer.penalty)(PARAMS)
    transformation = value.optimizer.transformation(float(value.optimizer.rate(3, value.steps)))
    updates, state = transformation.update(optax.tree.add(gradients, more), state, PARAMS)
    chex.assert_trees_all_close(got, (updates, state, value.optimizer.penalty(PARAMS)), rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("schedule", get_args(Schedule))
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm_and_schedule_finds_the_bottom_of_a_bowl(algorithm, schedule):
    rate = {"sgd": 0.3, "momentum": 0.05, "nesterov": 0.05, "adam": 0.1, "adamw": 0.1, "adagrad": 0.7}[algorithm]
    optimizer = Optimizer(algorithm, learning_rate=rate, schedule=schedule, warmup=10, clip_norm=5.0)
    curvature, bottom = jnp.array([0.3, 1.0, 3.0]), jnp.array([1.0, -2.0, 0.5])

    def loss(params):
        return 0.5 * (curvature * (params - bottom) ** 2).sum()

    def step(carry, index):
        params, state = carry
        transformation = optimizer.transformation(optimizer.rate(index, 600))
        updates, state = transformation.update(jax.grad(loss)(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    params = jnp.array([3.0, 3.0, 3.0])
    (params, _), _ = jax.lax.scan(step, (params, optimizer.transformation(0.0).init(params)), jnp.arange(600))
    np.testing.assert_allclose(params, bottom, atol=0.03)


def test_the_learning_rate_is_the_peak_times_the_schedule():
    optimizer = Optimizer(learning_rate=0.25, schedule="linear", warmup=4)
    rates = [float(optimizer.rate(step, 12)) for step in range(14)]
    expected = [0, 1, 2, 3, 4, 3.5, 3, 2.5, 2, 1.5, 1, 0.5, 0, 0]
    np.testing.assert_allclose(rates, np.array(expected) / 16, atol=1e-7)


def test_decay_spares_biases_and_norms():
    assert decayed(PARAMS) == KERNELS
    transformation = Optimizer("sgd", weight_decay=0.5).transformation(0.25)
    updates, _ = transformation.update(jax.tree.map(jnp.zeros_like, PARAMS), transformation.init(PARAMS), PARAMS)
    expected = jax.tree.map(lambda w, keep: -0.25 * 0.5 * w if keep else 0 * w, PARAMS, KERNELS)
    chex.assert_trees_all_close(updates, expected, rtol=1e-6)


@pytest.mark.fault("F43")
def test_a_scan_over_layers_decays_what_a_loop_over_them_does():
    """It stacks biases and scales, so that the number of axes no longer tells them."""

    def masks(scan):
        model = TransformerLanguageModel(vocabulary=7, layers=2, width=8, heads=2, max_length=4, scan=scan)
        params = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 4), int))["params"]
        flat = jax.tree_util.tree_leaves_with_path(decayed(params))
        return {re.sub(r"layer_\d", "layers", jax.tree_util.keystr(path)): keep for path, keep in flat}

    assert masks(scan=True) == masks(scan=False) and set(masks(scan=True).values()) == {True, False}


@pytest.mark.fault("F44")
def test_l1_leaves_a_weight_at_zero():
    params = {"kernel": jnp.array([[0.0, 2.0, -3.0]])}
    slope = jax.grad(Optimizer("sgd", l1=0.5).penalty)(params)["kernel"]
    np.testing.assert_array_equal(slope, [[0, 0.5, -0.5]])


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name != "adam"])
def test_decay_is_decoupled_from_the_rule(algorithm):
    with_decay, without = (optimizer_for(algorithm, weight_decay=decay).transformation(RATE) for decay in (0.3, 0.0))
    gradients = tree(1)
    one, other = (rule.update(gradients, rule.init(PARAMS), PARAMS)[0] for rule in (with_decay, without))
    expected = jax.tree.map(lambda w, keep: -RATE * 0.3 * w if keep else 0 * w, PARAMS, KERNELS)
    chex.assert_trees_all_close(optax.tree.sub(one, other), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_clipping_bounds_the_norm_and_keeps_the_direction(scale):
    gradients = tree(1, scale)
    norm = np.sqrt(sum(float((np.asarray(leaf, np.float64) ** 2).sum()) for leaf in jax.tree.leaves(gradients)))
    transformation = Optimizer("sgd", clip_norm=2.0).transformation(1.0)
    updates, _ = transformation.update(gradients, transformation.init(PARAMS), PARAMS)
    factor = min(1.0, 2.0 / norm)
    chex.assert_trees_all_close(updates, jax.tree.map(lambda leaf: -factor * leaf, gradients), rtol=1e-5)


def test_clipping_comes_before_the_rule_and_spares_the_decay():
    optimizer = Optimizer("momentum", momentum=0.5, clip_norm=1e-3, weight_decay=0.5)
    transformation, gradients = optimizer.transformation(1.0), tree(1)
    updates, state = transformation.update(gradients, transformation.init(PARAMS), PARAMS)
    decay = jax.tree.map(lambda w, keep: 0.5 * w if keep else 0 * w, PARAMS, KERNELS)
    assert float(optax.tree.norm(optax.tree.add(updates, decay))) == pytest.approx(1e-3, rel=1e-2)
    velocity = [leaf for leaf in jax.tree.leaves(state) if leaf.shape == (7, 11)]
    assert len(velocity) == 1 and float(jnp.abs(velocity[0]).max()) < 1e-3


def test_penalties_by_hand():
    w = jnp.array([[1.0, -2.0], [0.5, 0.0]])
    params = {"kernel": w, "bias": jnp.array([5.0, -7.0]), "scale": jnp.float32(3.0)}
    l1, l2 = 0.25, 0.5
    optimizer = Optimizer("sgd", l1=l1, l2=l2)
    value, gradient = jax.value_and_grad(optimizer.penalty)(params)
    assert value == pytest.approx(l1 * 3.5 + l2 / 2 * 5.25)
    expected = l1 * np.array([[1, -1], [1, 0]]) + l2 * np.asarray(w)
    mask = np.asarray(w) != 0  # at zero any value from -l1 to l1 is a subgradient of the absolute value
    np.testing.assert_allclose(np.asarray(gradient["kernel"])[mask], expected[mask], rtol=1e-6)
    assert abs(gradient["kernel"][1, 1]) <= l1
    assert not gradient["bias"].any() and gradient["scale"] == 0
    assert Optimizer("sgd", l1=l1).penalty(params) == pytest.approx(l1 * 3.5)
    assert Optimizer("sgd", l2=l2).penalty(params) == pytest.approx(l2 / 2 * 5.25)
    assert Optimizer("sgd").penalty(params) == 0 == optimizer.penalty({"bias": params["bias"]})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_state_does_not_depend_on_numbers(algorithm):
    one = optimizer_for(algorithm, clip_norm=0.5).transformation(0.0).init(PARAMS)
    other = Optimizer(algorithm, 5.0, "linear", 9, 0.1, 0.2, 0.3, 0.4, clip_norm=7.0)
    if algorithm == "adamw":
        other = dataclasses.replace(other, weight_decay=0.1)
    chex.assert_trees_all_equal(one, other.transformation(3.0).init(PARAMS))


def test_adam_with_decoupled_decay_is_refused():
    with pytest.raises(WrongValueError, match='weight_decay needs algorithm "adamw"; with "adam" use optimizer.l2'):
        Optimizer("adam", weight_decay=0.1)
    assert Optimizer("adam", l2=0.1).weight_decay == 0
