import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from research.errors import UsageError, WrongValueError
from research.experiment import fingerprint, from_json, join, replace, split, to_json
from research.optimization import Group, Optimizer
from research.optimization.groups import factors
from research.optimization.paths import check_path, flat, under

GENERATOR = np.random.default_rng(0)
PARAMS = {
    "trunk": {
        "block_0": {"kernel": jnp.asarray(GENERATOR.normal(size=(3, 5)), jnp.float32), "bias": jnp.ones(5)},
        "block_1": {"kernel": jnp.asarray(GENERATOR.normal(size=(5, 7)), jnp.float32), "bias": jnp.ones(7)},
    },
    "trunk_too": {"kernel": jnp.asarray(GENERATOR.normal(size=(7, 2)), jnp.float32)},
}
GRADIENTS = jax.tree.map(lambda w: jnp.asarray(GENERATOR.normal(size=w.shape), jnp.float32), PARAMS)
EVERYTHING = {"weight_decay": 0.3, "clip_norm": 0.5, "l1": 0.1, "l2": 0.2}
ALGORITHMS = ("sgd", "momentum", "nesterov", "adam", "adamw", "adagrad")


def after(optimizer, steps=3, names=tuple(PARAMS)):
    """Parameters of these names and their state after some updates."""
    params, gradients = ({name: tree[name] for name in names} for tree in (PARAMS, GRADIENTS))
    transformation = optimizer.transformation(0.1)
    state = transformation.init(params)
    for _ in range(steps):
        updates, state = transformation.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    return params, state


def test_the_last_group_that_names_a_parameter_counts():
    most, some, bias = ("trunk",), ("trunk.block_1", "trunk_too.kernel"), ("trunk.block_1.bias",)
    groups = (Group(most, 0.0), Group(some, 0.5), Group(bias, 2.0))
    assert factors(groups, PARAMS) == {
        "trunk": {"block_0": {"kernel": 0.0, "bias": 0.0}, "block_1": {"kernel": 0.5, "bias": 2.0}},
        "trunk_too": {"kernel": 0.5},
    }
    assert factors(groups, {"batch_stats": PARAMS}, below=1)["batch_stats"] == factors(groups, PARAMS)
    assert set(jax.tree.leaves(factors((), PARAMS))) == {1.0}
    assert factors((), [jnp.zeros(2), (jnp.zeros(3),)]) == [1.0, (1.0,)]


def test_a_path_ends_where_a_name_ends():
    assert under(("trunk", "block_0"), "trunk") and under(("trunk",), "trunk")
    assert not under(("trunk_too",), "trunk") and not under(("trunk",), "trunk.block_0")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_factor_scales_the_learning_rate(algorithm):
    """After one step a group has moved by its factor, decay included, and the others as ever."""
    decay = {} if algorithm == "adam" else {"weight_decay": 0.3}
    plain = Optimizer(algorithm, clip_norm=0.5, **decay)
    grouped = Optimizer(algorithm, clip_norm=0.5, groups=(Group(("trunk.block_1",), 0.25),), **decay)
    moved, slower = (optax.tree.sub(after(optimizer, 1)[0], PARAMS) for optimizer in (plain, grouped))
    moved["trunk"]["block_1"] = jax.tree.map(lambda x: 0.25 * x, moved["trunk"]["block_1"])
    chex.assert_trees_all_close(slower, moved, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("algorithm", ["momentum", "adamw"])
def test_a_factor_of_one_changes_nothing(algorithm):
    plain = Optimizer(algorithm, **EVERYTHING)
    grouped = Optimizer(algorithm, groups=(Group(("trunk",), 1.0),), **EVERYTHING)
    (params, state), (same, other) = after(plain), after(grouped)
    chex.assert_trees_all_equal(params, same)
    chex.assert_trees_all_equal(jax.tree.leaves(state), jax.tree.leaves(other))
    assert plain.penalty(PARAMS) == grouped.penalty(PARAMS)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_is_frozen_stays_and_the_rest_learns_as_if_it_were_alone(algorithm):
    changes = EVERYTHING | ({"weight_decay": 0.0} if algorithm == "adam" else {})
    optimizer = Optimizer(algorithm, eps=0.0, groups=(Group(("trunk",), 0.0),), **changes)
    params, state = after(optimizer)
    chex.assert_trees_all_equal(params["trunk"], PARAMS["trunk"])
    alone = Optimizer(algorithm, eps=0.0, **changes)
    rest, rest_state = after(alone, names=("trunk_too",))
    chex.assert_trees_all_equal(params["trunk_too"], rest["trunk_too"])  # clipped by the norm of what learns
    chex.assert_trees_all_equal(jax.tree.leaves(state), jax.tree.leaves(rest_state))  # no momentum of what does not
    assert optimizer.penalty(PARAMS) == alone.penalty(rest | {"trunk_too": PARAMS["trunk_too"]})


def test_zero_is_part_of_the_program_and_other_factors_are_arguments(experiment):
    values = [
        replace(experiment, {"optimizer.groups": (Group(("block_0",), factor), Group(("logits",), 0.5))})
        for factor in (0.0, 0.1, 2)
    ]
    programs, arguments = zip(*map(split, values), strict=True)
    assert programs[1] == programs[2] != programs[0] and hash(programs[1]) == hash(programs[2])
    assert arguments[1]["optimizer.groups.0.factor"] == 0.1 and "optimizer.groups.0.factor" not in arguments[0]
    for value, program, numbers in zip(values, programs, arguments, strict=True):
        assert join(program, numbers) == value == from_json(to_json(value))
    assert replace(values[0], {"optimizer.groups.0.factor": 0.1}) == values[1]
    assert len({fingerprint(value) for value in (experiment, *values)}) == 4
    assert fingerprint(replace(values[0], {"optimizer.groups": ()})) == fingerprint(experiment)
    with pytest.raises(WrongValueError, match="optimizer.groups.0.factor must be at least 0, not -1"):
        replace(values[0], {"optimizer.groups.0.factor": -1.0})


def test_an_unknown_path_is_met_with_the_closest():
    keys = flat(PARAMS)
    for path in ("trunk", "trunk.block_1", "trunk_too.kernel"):
        check_path(path, keys, "model")
    for path in ("trunk.blok_1", "trunk.block_1.kernel.x", "", "trunk."):
        with pytest.raises(UsageError, match=f'model has no parameters "{path}"; '):
            check_path(path, keys, "model")
    with pytest.raises(UsageError, match='did you mean "trunk.block_1"'):
        check_path("trunk.blok_1", keys, "model")
