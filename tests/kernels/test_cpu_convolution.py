import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.kernels.choice import forward_mode
from research.kernels.convolution import convolve
from tests.training.forking import call, finish

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(2, 11, 8, 7))
KERNEL = GENERATOR.normal(size=(3, 2, 7, 5))


def plain(x, kernel, stride, padding):
    dimensions = ("NHWC", "HWIO", "NHWC")
    return jax.lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=dimensions)


def ours(x, kernel, stride, padding):
    return convolve(x, kernel, stride, padding, groups=1)


def run(function, x, kernel, stride, padding):
    y, pull = jax.vjp(lambda x, kernel: function(x, kernel, stride, padding), x, kernel)
    return y, *pull(jnp.cos(y))


@pytest.mark.parametrize("padding", ["SAME", "VALID", [(0, 2), (3, 1)]])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_values_and_gradients_are_those_of_one_operation(stride, padding):
    """With kernels of several pixels and of one, and few channels."""
    with jax.enable_x64(True):
        for rows, columns, c in ((3, 2, 7), (1, 1, 7), (2, 3, 3), (5, 5, 5)):
            x, kernel = jnp.asarray(X[..., :c]), jnp.asarray(GENERATOR.normal(size=(rows, columns, c, 5)))
            both = jax.jit(lambda x, kernel: [run(function, x, kernel, stride, padding) for function in (ours, plain)])
            for found, expected in zip(*both(x, kernel), strict=True):
                assert found.shape == expected.shape
                np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("stride", [1, 2])
def test_half_precision_stays_so(stride):
    x, kernel = jnp.asarray(X, jnp.bfloat16), jnp.asarray(KERNEL, jnp.bfloat16)
    for found, expected in zip(
        run(ours, x, kernel, stride, "SAME"), run(plain, X, KERNEL, stride, "SAME"), strict=True
    ):
        assert found.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.float32(found), expected, rtol=0.05, atol=0.05 * np.abs(expected).max())


@pytest.mark.parametrize("axes", [axes for axes in itertools.product((0, None), repeat=3) if any(a == 0 for a in axes)])
def test_several_at_once_whichever_differ(axes):
    """Images, kernel and what the gradient comes from."""
    n = 3
    sizes = (X.shape, KERNEL.shape, (2, 11, 8, 5))
    inputs = [jnp.asarray(GENERATOR.normal(size=(n, *s) if a == 0 else s)) for a, s in zip(axes, sizes, strict=True)]

    def gradients(function):
        def one(x, kernel, weight):
            y, pull = jax.vjp(lambda x, kernel: function(x, kernel, 1, "SAME"), x, kernel)
            return y + weight, *pull(weight)

        return one

    several = jax.jit(jax.vmap(gradients(ours), axes))(*inputs)
    for index in range(n):
        one = jax.jit(gradients(plain))(
            *(each[index] if axis == 0 else each for axis, each in zip(axes, inputs, strict=True))
        )
        for found, expected in zip(several, one, strict=True):
            np.testing.assert_allclose(found[index], expected, rtol=1e-4, atol=1e-4)


def loss(function, stride=1):
    return lambda x, kernel: jnp.sin(function(x, kernel, stride, "SAME")).sum()


def test_in_a_scan_with_remat():
    xs, kernel = jnp.asarray(np.stack([X, X[::-1]]), jnp.float32), jnp.asarray(KERNEL, jnp.float32)
    gradient = jax.grad(jax.checkpoint(loss(ours)), argnums=(0, 1))
    _, found = jax.lax.scan(lambda _, x: (None, gradient(x, kernel)), None, xs)
    for index, x in enumerate(xs):
        for ours_, expected in zip(found, jax.grad(loss(plain), argnums=(0, 1))(x, kernel), strict=True):
            np.testing.assert_allclose(ours_[index], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_the_gradients_in_a_scan_have_the_axes_of_the_fast_routine(stride):
    """Others are plain loops there, 30 times slower."""
    x, kernel = jnp.zeros(X.shape), jnp.zeros(KERNEL.shape)

    def axes(function):
        def body(carried, _):
            return (*jax.grad(loss(function, stride), argnums=(0, 1))(*carried),), None

        text = jax.jit(lambda *start: jax.lax.scan(body, start, length=3)[0]).lower(x, kernel).compile().as_text()
        return {
            line.split("dim_labels=")[1].split(",")[0].strip() for line in text.splitlines() if " convolution(" in line
        }

    assert axes(ours) == {"b01f_01io->b01f"}
    assert axes(plain) > {"b01f_01io->b01f"}


def test_several_kernels_make_no_convolution_in_groups():
    xs, kernels = jnp.zeros((3, *X.shape)), jnp.zeros((3, *KERNEL.shape))

    def text(function):
        return jax.jit(jax.vmap(jax.grad(loss(function), argnums=(0, 1)))).lower(xs, kernels).as_text()

    assert "stablehlo.convolution" in text(plain) and "stablehlo.convolution" not in text(ours)


def test_second_derivatives_work_and_forward_mode_is_refused_unless_asked_for():
    x, kernel = jnp.asarray(X, jnp.float32), jnp.asarray(KERNEL, jnp.float32)

    def curvature(function):
        gradient = jax.grad(loss(function), argnums=(0, 1))
        squares = lambda *inputs: sum((each**2).sum() for each in gradient(*inputs))  # noqa: E731
        return jax.jit(jax.grad(squares, argnums=(0, 1)))(x, kernel)

    for found, expected in zip(curvature(ours), curvature(plain), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())
    kept = jax.jit(lambda x: ours(x, kernel, 1, "SAME"))

    def is_refused():
        with pytest.raises(TypeError, match=r"forward-mode autodiff \(jvp\) to a custom_vjp"):
            jax.jvp(kept, (x,), (x,))

    is_refused()
    with forward_mode(True):  # the trace of a compiled function that was kept is not taken for it
        tangent = jax.jvp(kept, (x,), (x,))[1]
        with forward_mode(False):
            is_refused()
    is_refused()
    np.testing.assert_allclose(tangent, plain(x, kernel, 1, "SAME"), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
def test_accelerators_get_the_convolution_and_its_own_gradients(stride):
    x, kernel = jnp.zeros(X.shape), jnp.zeros(KERNEL.shape)

    def text(function, platform):
        traced = jax.jit(lambda *inputs: run(function, *inputs, stride, "SAME")).trace(x, kernel)
        lines = traced.lower(lowering_platforms=(platform,)).as_text().splitlines()
        return sorted(line.split("dim_numbers")[1] for line in lines if "stablehlo.convolution" in line)

    for platform in ("cuda", "tpu"):
        assert text(ours, platform) == text(plain, platform)
        assert len(text(ours, platform)) == 3
    assert text(ours, "cpu") != text(plain, "cpu")


DIVIDED = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_num_cpu_devices", 8)
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from research.models import CNN

generator = np.random.default_rng(0)
model = CNN(channels=(7, 11, 5), kernel=3, pool=2, dense=(3,))
x = (generator.normal(size=(16, 11, 13, 3)) * np.arange(1, 17)[:, None, None, None]).astype(np.float32)
weight = generator.normal(size=(16, 10)).astype(np.float32)
variables = jax.jit(model.init)(jax.random.key(0), x)

def step(variables, x, weight):
    def loss(variables, x):
        return (jnp.sin(model.apply(variables, x, train=True)) * weight).mean()

    return jax.value_and_grad(loss, (0, 1))(variables, x)

one = jax.jit(step)(variables, x, weight)
mesh = Mesh(np.array(jax.devices()), ("batch",))
whole, parts = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ((), ("batch",)))
arguments = jax.device_put(variables, whole), *jax.device_put((x, weight), parts)
compiled = jax.jit(step).lower(*arguments).compile()
text = compiled.as_text()
assert "all-reduce" in text and "all-gather" not in text and "all-to-all" not in text
for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(compiled(*arguments)), strict=True):
    np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-4 * np.abs(a).max())
"""


@pytest.mark.slow
def test_a_batch_divided_among_devices_gives_the_gradients_of_one():
    """Of eight, whose rows stay where they are: convolutions of all forms and pooling."""
    ended = finish(*call(exec, DIVIDED, {}), seconds=300)
    assert ended.code == 0, ended.text
