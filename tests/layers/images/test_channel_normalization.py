"""Normalization of channels, and the other parts of convolutional networks whose laws are statistics."""

import math
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.layers.images.channel_normalization import ChannelNorm, ChannelNormalization
from research.layers.images.convolution import Convolution, standardized
from research.layers.images.squeeze_excitation import SqueezeExcitation
from research.layers.stochastic_depth import StochasticDepth, growing
from tests.training.forking import call, finish

EPSILON = 0.1
C = 12  # four groups of three channels, for groupnorm
X = np.random.default_rng(0).normal(2.0, 3.0, (5, 7, 3, C)).astype(np.float32)
SCALE, BIAS = np.linspace(0.5, 2, C, dtype=np.float32), np.linspace(-1, 1, C, dtype=np.float32)
SPAN = {"batchnorm": (0, 1, 2), "layernorm": (3,), "rmsnorm": (3,)}


def formula(kind, x):
    """The definition, in the precision of x [b, h, w, c]."""
    if kind == "groupnorm":
        size = C // math.gcd(32, C)
        groups = [x[..., start : start + size] for start in range(0, C, size)]
        y = np.concatenate([standard(group, (1, 2, 3)) for group in groups], axis=-1)
    elif kind == "rmsnorm":
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + EPSILON) * SCALE
    else:
        y = standard(x, SPAN[kind])
    return y * SCALE + BIAS


def standard(x, axes):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + EPSILON)


KINDS = ("batchnorm", "layernorm", "groupnorm", "rmsnorm")


def variables(kind, mean=0.0, var=1.0):
    found = {"params": {"scale": SCALE} | ({} if kind == "rmsnorm" else {"bias": BIAS})}
    if kind == "batchnorm":
        found["batch_stats"] = {"mean": np.full(C, mean, np.float32), "var": np.full(C, var, np.float32)}
    return found


def normalized(kind, x=X, epsilon=EPSILON, **fields):
    """The output of training."""
    return train(kind, x, epsilon=epsilon, **fields)[0]


def train(kind, x=X, state=None, **fields):
    """Return the output of training and the collections after it."""
    model = ChannelNormalization(kind, **{"epsilon": EPSILON, **fields})
    y, updated = model.apply(state or variables(kind), jnp.asarray(x), train=True, mutable=["batch_stats"])
    return y, updated


def test_every_kind_is_tested_here():
    assert {*KINDS, "none"} == set(get_args(ChannelNorm))


@pytest.mark.parametrize("kind", KINDS)
def test_the_output_is_that_of_the_formula(kind):
    np.testing.assert_allclose(normalized(kind), formula(kind, X.astype(np.float64)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_is_that_of_the_formula(kind):
    """By central differences in float64, for every pixel."""
    x = X[:3, :2, :2].astype(np.float64)
    weight = np.random.default_rng(1).normal(size=x.shape)
    expected = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        bump = np.zeros_like(x)
        bump[index] = 1e-5
        expected[index] = ((formula(kind, x + bump) - formula(kind, x - bump)) * weight).sum() / 2e-5
    found = jax.grad(lambda x: (normalized(kind, x) * weight.astype(np.float32)).sum())(x.astype(np.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_batch_statistics_are_those_of_the_data():
    """Also far from zero, where the difference of two large numbers would be no variance."""
    x = (1000 + 0.1 * X).astype(np.float32)
    _, updated = train("batchnorm", x, momentum=0.0)
    stats, exact = updated["batch_stats"], x.astype(np.float64).reshape(-1, C)
    np.testing.assert_allclose(stats["mean"], exact.mean(0), rtol=1e-6)
    np.testing.assert_allclose(stats["var"], exact.var(0, ddof=1), rtol=1e-3)


def test_running_averages_by_hand():
    """Four steps, each of another number of images; the variance is that of n - 1."""
    mean, var, state = np.zeros(C), np.ones(C), variables("batchnorm")
    for step, size in enumerate((5, 2, 3, 1)):
        x = np.random.default_rng(step).normal(step, 1 + step, (size, 7, 3, C)).astype(np.float32)
        _, updated = train("batchnorm", x, state, momentum=0.7)
        state = {**state, **updated}
        pixels = x.astype(np.float64).reshape(-1, C)
        mean, var = 0.7 * mean + 0.3 * pixels.mean(0), 0.7 * var + 0.3 * pixels.var(0, ddof=1)
        np.testing.assert_allclose(state["batch_stats"]["mean"], mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(state["batch_stats"]["var"], var, rtol=1e-5)


def test_the_running_variance_of_a_single_pixel_is_finite():
    y, updated = train("batchnorm", X[:1, :1, :1], momentum=0.5)
    np.testing.assert_allclose(y[0, 0, 0], BIAS, atol=1e-6)
    np.testing.assert_allclose(updated["batch_stats"]["var"], 0.5)


def test_evaluation_uses_the_running_averages_and_leaves_them():
    state = variables("batchnorm", mean=0.5, var=4.0)
    model = ChannelNormalization(epsilon=EPSILON)
    y, after = model.apply(state, X, mutable=["batch_stats"])
    np.testing.assert_allclose(y, (X - 0.5) / np.sqrt(4.0 + EPSILON) * SCALE + BIAS, rtol=1e-5, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, after["batch_stats"], state["batch_stats"])
    np.testing.assert_array_equal(model.apply(state, X[1:2]), y[1:2])


def touched(kind, place):
    """Where the output changes as the input does at `place`, bool [b, h, w, c]."""
    other = X.copy()
    other[place] += np.random.default_rng(2).normal(size=other[place].shape).astype(np.float32)
    return np.abs(np.asarray(normalized(kind, other)) - np.asarray(normalized(kind))) > 1e-6


def test_what_an_output_depends_on():
    image, pixel, channel = np.zeros((3, *X.shape), bool)
    image[2], pixel[2, 4, 1], channel[..., 5] = True, True, True
    for kind in ("layernorm", "rmsnorm"):
        np.testing.assert_array_equal(touched(kind, np.s_[2, 4, 1]), pixel)
    np.testing.assert_array_equal(touched("groupnorm", np.s_[2]), image)
    group = np.zeros(X.shape, bool)
    group[2, ..., 3:6] = True  # the second group of three
    np.testing.assert_array_equal(touched("groupnorm", np.s_[2, 4, 1, 5]), group)
    np.testing.assert_array_equal(touched("batchnorm", np.s_[2, 4, 1, 5]), channel)


@pytest.mark.parametrize("kind", KINDS)
def test_statistics_are_float32_in_any_precision(kind):
    x = jnp.asarray(X + 20, jnp.bfloat16)
    exact = np.asarray(x, np.float64)
    y, updated = train(kind, x, dtype="bfloat16", momentum=0.0)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_array_equal(y, normalized(kind, x).astype(jnp.bfloat16))
    np.testing.assert_allclose(np.asarray(y, np.float64), formula(kind, exact), rtol=2**-7, atol=1e-4)
    created = ChannelNormalization(kind, dtype="bfloat16").init(jax.random.key(0), x, train=True)
    assert {leaf.dtype for leaf in jax.tree.leaves((created, updated))} == {jnp.dtype("float32")}
    if kind == "batchnorm":
        np.testing.assert_allclose(updated["batch_stats"]["mean"], exact.mean((0, 1, 2)), rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_neither_scale_nor_offset_of_the_input_matters(kind):
    y = normalized(kind, epsilon=1e-12)
    np.testing.assert_allclose(normalized(kind, 50 * X, epsilon=1e-12), y, rtol=1e-4, atol=1e-4)
    same = np.allclose(normalized(kind, X + 3, epsilon=1e-12), y, rtol=1e-4, atol=1e-4)
    assert same == (kind != "rmsnorm")


def test_parameters_of_every_kind():
    created = {kind: ChannelNormalization(kind).init(jax.random.key(0), X) for kind in get_args(ChannelNorm)}
    assert {kind: set(tree.get("params", ())) for kind, tree in created.items()} == {
        "batchnorm": {"scale", "bias"},
        "layernorm": {"scale", "bias"},
        "groupnorm": {"scale", "bias"},
        "rmsnorm": {"scale"},
        "none": set(),
    }
    assert [kind for kind, tree in created.items() if "batch_stats" in tree] == ["batchnorm"]
    np.testing.assert_array_equal(ChannelNormalization("none").apply({}, X, train=True), X)
    assert not np.any(
        ChannelNormalization(scale_init=jax.nn.initializers.zeros).init_with_output(jax.random.key(0), X)[0]
    )


def test_momentum_and_epsilon_are_arguments():
    def step(momentum, epsilon):
        return train("batchnorm", momentum=momentum, epsilon=epsilon)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), jax.jit(step)(0.6, 0.2), step(0.6, 0.2))


KERNEL = np.random.default_rng(3).normal(0.3, 2.0, (3, 5, 7, 11)).astype(np.float32)


def test_a_standardized_kernel_has_mean_0_and_variance_1():
    found = np.asarray(standardized(jnp.asarray(KERNEL)), np.float64)
    np.testing.assert_allclose(found.mean((0, 1, 2)), 0, atol=1e-6)
    np.testing.assert_allclose(found.var((0, 1, 2)), 1, rtol=1e-4)


def test_a_standardized_convolution_does_not_see_scale_or_offset_of_its_kernel():
    x = jnp.asarray(np.random.default_rng(4).normal(size=(2, 5, 7, 7)), jnp.float32)
    fields = {"channels": 11, "kernel": (3, 5)}

    def convolve(kernel, standard=True):
        return Convolution(**fields, standardized=standard).apply({"params": {"kernel": jnp.asarray(kernel)}}, x)

    exact = KERNEL.astype(np.float64)
    by_hand = (exact - exact.mean((0, 1, 2))) / exact.std((0, 1, 2))
    y = convolve(KERNEL)
    np.testing.assert_allclose(y, convolve(by_hand.astype(np.float32), standard=False), rtol=1e-4, atol=1e-3)
    scales = np.linspace(0.5, 40, 11, dtype=np.float32)
    np.testing.assert_allclose(convolve(KERNEL * scales + 0.7), y, rtol=1e-4, atol=1e-3)
    gradient = jax.grad(lambda kernel: (convolve(kernel) ** 2).sum())(jnp.asarray(KERNEL))
    assert np.abs(gradient).max() > 0.1
    np.testing.assert_allclose((np.asarray(gradient) * KERNEL).sum((0, 1, 2)), 0, atol=0.05)


def dropped(rate, x, key=0):
    return StochasticDepth(rate).apply({}, x, train=True, rngs={"dropout": jax.random.key(key)})


def test_stochastic_depth_keeps_whole_examples_and_the_mean():
    x = np.random.default_rng(5).normal(2.0, 1.0, (10_007, 2, 1, 3)).astype(np.float32)
    y = np.asarray(dropped(0.3, x))
    kept = (y != 0).any((1, 2, 3))
    assert abs(kept.mean() - 0.7) < 4 * np.sqrt(0.21 / len(x))
    np.testing.assert_allclose(y[kept], x[kept] / 0.7, rtol=1e-6)
    assert not y[~kept].any()
    assert abs(y.mean() - x.mean()) < 4 * 2.0 * np.sqrt(0.3 / 0.7 / len(x))
    assert not np.array_equal(y, dropped(0.3, x, key=1))
    np.testing.assert_array_equal(StochasticDepth(0.3).apply({}, x, train=False), x)
    np.testing.assert_allclose(jax.jit(dropped)(0.3, x), y, rtol=1e-6)
    assert dropped(0.3, jnp.bfloat16(x[:3])).dtype == jnp.bfloat16


def test_stochastic_depth_that_is_off_costs_nothing():
    for rate, train in ((0.0, True), (0.3, False)):
        traced = jax.make_jaxpr(lambda x, rate=rate, train=train: StochasticDepth(rate).apply({}, x, train=train))(X)
        assert not traced.eqns


def test_rates_grow_linearly():
    assert growing(0.3, 4) == pytest.approx((0.0, 0.1, 0.2, 0.3))
    assert growing(0.3, 1) == (0.0,) and growing(0.0, 3) == (0.0, 0.0, 0.0)


def test_squeeze_and_excitation_by_hand():
    generator = np.random.default_rng(6)
    shapes = {"squeeze": (C, 5), "excite": (5, C)}
    params = {
        name: {"kernel": generator.normal(size=shape), "bias": generator.normal(size=shape[1:])}
        for name, shape in shapes.items()
    }
    x = X.astype(np.float64)
    hidden = np.maximum(x.mean((1, 2)) @ params["squeeze"]["kernel"] + params["squeeze"]["bias"], 0)
    gate = 1 / (1 + np.exp(-(hidden @ params["excite"]["kernel"] + params["excite"]["bias"])))
    narrow = jax.tree.map(np.float32, params)
    y = SqueezeExcitation(width=5).apply({"params": narrow}, X)
    np.testing.assert_allclose(y, x * gate[:, None, None], rtol=1e-4, atol=1e-5)
    assert (hidden == 0).any() and (hidden > 0).any()
    half = SqueezeExcitation(width=5, dtype="bfloat16").apply({"params": narrow}, jnp.bfloat16(X))
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.asarray(half, np.float32), y, rtol=0.1, atol=0.1)


SHARDED = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_num_cpu_devices", 8)
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from research.models import ResNet

model = ResNet(blocks=(1, 1), width=4, stem="small", squeeze_excitation=2, classes=5)
generator = np.random.default_rng(0)
# Images of one device are unlike those of another, so that statistics of a part are not those of the whole.
x = (generator.normal(size=(16, 7, 5, 3)) * np.arange(1, 17)[:, None, None, None]).astype(np.float32)
weight = generator.normal(size=(16, 5)).astype(np.float32)
variables = jax.jit(model.init)(jax.random.key(0), x)

def step(variables, x, weight):
    def loss(params):
        logits, updated = model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
        return (logits * weight).mean(), (logits, updated)
    return jax.grad(loss, has_aux=True)(variables["params"])

one = jax.jit(step)(variables, x, weight)
mesh = Mesh(np.array(jax.devices()), ("batch",))
whole, parts = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("batch",)))
divided = jax.device_put((x, weight), parts)
assert len(divided[0].addressable_shards) == 8 and divided[0].addressable_shards[3].data.shape == (2, 7, 5, 3)
several = jax.jit(step)(jax.device_put(variables, whole), *divided)
leaves = jax.tree.leaves(one)
assert len(leaves) > 30
for a, b in zip(leaves, jax.tree.leaves(several), strict=True):
    np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-5 * np.abs(a).max())
"""


@pytest.mark.slow
def test_a_batch_divided_among_devices_is_normalized_as_a_whole():
    """Outputs, running averages and gradients of eight devices are those of one."""
    ended = finish(*call(exec, SHARDED, {}), seconds=300)
    assert ended.code == 0, ended.text
