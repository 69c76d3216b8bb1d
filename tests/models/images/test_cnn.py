import itertools
from functools import partial
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.errors import UsageError
from research.layers import Activation, Pooling
from research.models import CNN

X = np.random.default_rng(0).normal(size=(2, 13, 11, 3)).astype(np.float32)
TINY = CNN(classes=17, channels=(5, 7), dense=(19, 23))


def randomized(model, x, seed=0):
    """Parameters of the model's shapes, biases random too."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(generator.normal(size=leaf.shape) * 0.3, leaf.dtype), shapes)


def intermediates(model, variables, x):
    _, state = jax.jit(partial(model.apply, mutable=["intermediates"]))(variables, x)
    return {name: value for name, (value,) in state["intermediates"].items()}


def convolve(x, kernel, bias):
    """Convolution of the same size, by loops; an even kernel reaches one pixel further down and right."""
    b, h, w, _ = x.shape
    k = kernel.shape[0]
    low = (k - 1) // 2
    padded = np.pad(x, ((0, 0), (low, k - 1 - low), (low, k - 1 - low), (0, 0)))
    out = np.zeros((b, h, w, kernel.shape[-1])) + bias
    for i in range(k):
        for j in range(k):
            out += padded[:, i : i + h, j : j + w] @ kernel[i, j]
    return out


def pool(x, kind, window):
    b, h, w, c = x.shape
    tiles = x[:, : h // window * window, : w // window * window]
    tiles = tiles.reshape(b, h // window, window, w // window, window, c)
    return tiles.max((2, 4)) if kind == "max" else tiles.mean((2, 4))


def forward(model, params, x):
    """The network in float64 numpy, with relu."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)
    for index in range(len(model.channels)):
        layer = params[f"block_{index}"]["Conv_0"]
        x = pool(np.maximum(convolve(x, layer["kernel"], layer["bias"]), 0), model.pooling, model.pool)
    x = x.reshape(len(x), -1)
    for index in range(len(model.dense)):
        layer = params[f"dense_{index}"]
        x = np.maximum(x @ layer["kernel"] + layer["bias"], 0)
    return x @ params["logits"]["kernel"] + params["logits"]["bias"]


@pytest.mark.parametrize(
    "kernel, window, pooling", [(3, 2, "max"), (2, 3, "average"), (5, 1, "max"), (1, 2, "average")]
)
def test_the_network_equals_one_of_plain_numpy(kernel, window, pooling):
    model = TINY.clone(kernel=kernel, pool=window, pooling=pooling)
    variables = randomized(model, X)
    expected = forward(model, variables["params"], X.astype(np.float64))
    logits = jax.jit(model.apply)(variables, X)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize(
    "shape, count",
    [
        ((28, 28, 1), (9 * 1 + 1) * 32 + (9 * 32 + 1) * 64 + (7 * 7 * 64 + 1) * 128 + 129 * 10),
        ((8, 8, 1), (9 * 1 + 1) * 32 + (9 * 32 + 1) * 64 + (2 * 2 * 64 + 1) * 128 + 129 * 10),
        ((32, 32, 3), (9 * 3 + 1) * 32 + (9 * 32 + 1) * 64 + (8 * 8 * 64 + 1) * 128 + 129 * 10),
    ],
)
def test_the_default_has_as_many_parameters_as_the_formula(shape, count):
    shapes = jax.eval_shape(CNN().init, jax.random.key(0), jnp.zeros((1, *shape)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count
    assert set(shapes) == {"params"}


def test_shapes_on_sizes_that_do_not_divide():
    found = {name: x.shape for name, x in intermediates(TINY, randomized(TINY, X), X).items()}
    assert found == {
        "block_0_output": (2, 6, 5, 5),
        "block_1_output": (2, 3, 2, 7),
        "dense_0_output": (2, 19),
        "dense_1_output": (2, 23),
    }
    assert jax.eval_shape(TINY.apply, randomized(TINY, X), X).shape == (2, 17)


def test_all_intermediates_can_be_captured_too():
    capture = partial(TINY.apply, capture_intermediates=True, mutable=["intermediates"])
    _, state = jax.eval_shape(capture, randomized(TINY, X), X)
    assert {"block_0", "block_0_output", "dense_1", "dense_1_output", "logits"} <= state["intermediates"].keys()


@pytest.mark.parametrize("channels, dense", [((), (5,)), ((3,), ()), ((), ())])
def test_blocks_and_dense_layers_may_be_left_out(channels, dense):
    model = TINY.clone(channels=channels, dense=dense)
    variables = randomized(model, X)
    logits = jax.jit(model.apply)(variables, X)
    np.testing.assert_allclose(logits, forward(model, variables["params"], X), rtol=1e-3, atol=1e-4)


def test_too_many_blocks_for_the_image_are_refused():
    with pytest.raises(UsageError, match="an image of 1 x 1 is too small to pool by 2; use fewer blocks"):
        jax.eval_shape(CNN(channels=(3, 3, 3, 3)).init, jax.random.key(0), jnp.zeros((1, 11, 13, 1)))


def test_examples_do_not_see_each_other():
    x = np.random.default_rng(1).normal(size=(7, 8, 8, 1)).astype(np.float32)
    variables, order = randomized(TINY, x), np.random.default_rng(2).permutation(7)
    run = jax.jit(TINY.apply)
    logits = run(variables, x)
    np.testing.assert_allclose(run(variables, x[order]), logits[order], rtol=1e-5, atol=1e-5)
    influence = jax.jit(jax.grad(lambda x: TINY.apply(variables, x)[3].sum()))(x)
    touched = np.abs(influence).sum((1, 2, 3)) > 0
    np.testing.assert_array_equal(touched, np.arange(7) == 3)


@pytest.mark.parametrize("pooling", get_args(Pooling))
def test_moving_an_image_by_the_stride_moves_what_blocks_give(pooling):
    model = TINY.clone(pooling=pooling)
    x = np.zeros((1, 32, 36, 3), np.float32)
    x[:, 12:20, 10:18] = np.random.default_rng(0).normal(size=(8, 8, 3))
    moved = np.roll(x, (4, 8), (1, 2))
    variables = randomized(model, x)
    here, there = intermediates(model, variables, x), intermediates(model, variables, moved)
    for name, (down, right) in {"block_0_output": (2, 4), "block_1_output": (1, 2)}.items():
        expected = np.roll(here[name], (down, right), (1, 2))
        inside = np.s_[:, 3:-2, 3:-2]  # the border sees the padding, which does not move
        np.testing.assert_allclose(there[name][inside], expected[inside], rtol=1e-5, atol=1e-5)
        assert np.ptp(expected[inside]) > 0.1


def test_bfloat16_is_the_precision_of_the_computation_alone():
    half = TINY.clone(dtype="bfloat16")
    variables = randomized(half, X)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    inner = jax.eval_shape(lambda: intermediates(half, variables, X))
    assert {value.dtype for value in inner.values()} == {jnp.dtype("bfloat16")}
    logits, exact = (jax.jit(model.apply)(variables, X) for model in (half, TINY))
    assert logits.dtype == exact.dtype == jnp.float32
    assert 0 < np.abs(logits - exact).max() < 0.05 * np.abs(exact).max()


def test_every_activation_and_pooling_is_another_function():
    choices = itertools.product(get_args(Activation), get_args(Pooling))
    # Far enough from 0 that relu6 cuts what relu lets through.
    models = [TINY.clone(activation=a, pooling=p, channels=(5,), dense=(19,)) for a, p in choices]
    logits = jax.jit(lambda v: [model.apply(v, 9 * X) for model in models])(randomized(models[0], X))
    for one, other in itertools.combinations(logits, 2):
        assert np.abs(one - other).max() > 1e-3


@pytest.mark.parametrize("activation", get_args(Activation))
def test_the_gradient_reaches_every_parameter(activation):
    model = TINY.clone(activation=activation, pooling="average")
    x = np.random.default_rng(1).normal(size=(11, 8, 8, 3)).astype(np.float32)
    variables = randomized(model, x)
    weight = np.random.default_rng(2).normal(size=(11, 17)).astype(np.float32)
    gradient = jax.jit(jax.grad(lambda params: (weight * model.apply({"params": params}, x)).sum()))(
        variables["params"]
    )
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        reached = float((leaf != 0).mean())
        flat = ("relu", "relu6", "step")  # over half of what comes in
        assert np.isfinite(leaf).all() and reached > (0.5 if activation in flat else 0.99), (path, reached)


def test_dropout_acts_on_dense_layers_in_training_alone():
    model = TINY.clone(dropout=0.5)
    variables = randomized(model, X)
    run = lambda model, variables, **fields: jax.jit(partial(model.apply, **fields))(variables, X)  # noqa: E731
    plain = run(TINY, variables)
    np.testing.assert_array_equal(run(model, variables), plain)
    np.testing.assert_array_equal(run(TINY, variables, train=True), plain)
    dropped = jax.jit(lambda key: model.apply(variables, X, train=True, rngs={"dropout": key}))
    one, again, other = (dropped(jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other) and not np.array_equal(one, plain)
    bare = model.clone(dense=())
    variables = randomized(bare, X)
    np.testing.assert_array_equal(run(bare, variables, train=True), run(bare, variables))


def test_when_all_is_dropped_the_logits_are_their_bias():
    model = TINY.clone(dropout=0.9999)
    variables = randomized(model, X)
    drop = partial(model.apply, train=True, rngs={"dropout": jax.random.key(0)})
    logits = jax.jit(drop)(variables, X)
    bias = variables["params"]["logits"]["bias"]
    np.testing.assert_array_equal(logits, np.broadcast_to(bias, logits.shape))
