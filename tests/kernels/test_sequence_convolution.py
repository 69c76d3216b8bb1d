import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.kernels.sequence_convolution import convolve_steps

GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(2, 13, 7))
CONVOLUTION = "stablehlo.convolution"


def drawn(k, c, features):
    return GENERATOR.normal(size=(k, c, features))


def run(convolve, x, kernel, padding, dilation):
    """Return what comes out of Flax's layer, and the gradients."""
    layer = nn.Conv(
        kernel.shape[-1],
        kernel.shape[:1],
        padding=padding,
        kernel_dilation=dilation,
        use_bias=False,
        conv_general_dilated=convolve,
        param_dtype=x.dtype,
    )
    y, pull = jax.vjp(lambda x, kernel: layer.apply({"params": {"kernel": kernel}}, x), x, kernel)
    return y, *pull(jnp.cos(y))


ours = functools.partial(run, convolve_steps)
plain = functools.partial(run, None)


@pytest.mark.parametrize("padding", ["SAME", "VALID", [(0, 5)]])
@pytest.mark.parametrize("dilation", [1, 3])
def test_values_and_gradients_are_those_of_the_operation(padding, dilation):
    """Whether more goes in than comes out or less, and with windows of one step."""
    with jax.enable_x64(True):
        for k, c, features in ((3, 7, 5), (2, 3, 11), (1, 7, 7)):
            x, kernel = jnp.asarray(X[..., :c]), jnp.asarray(drawn(k, c, features))
            pairs = zip(ours(x, kernel, padding, dilation), plain(x, kernel, padding, dilation), strict=True)
            for found, expected in pairs:
                assert found.shape == expected.shape
                np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)


def test_forward_mode_and_second_derivatives_work():
    x, kernel = jnp.asarray(X, jnp.float32), jnp.asarray(drawn(3, 7, 5), jnp.float32)

    def curvature(convolve):
        def loss(kernel):
            return jnp.sin(convolve(x, kernel, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))).sum()

        return jax.jvp(jax.grad(loss), (kernel,), (kernel,))[1]

    np.testing.assert_allclose(curvature(convolve_steps), curvature(jax.lax.conv_general_dilated), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("features", [5, 11])
def test_a_cpu_gets_products_alone_and_accelerators_the_convolution(features):
    """Also of several at once: a convolution in a loop, or in groups, is slow on a CPU."""
    x, kernel = jnp.zeros((3, *X.shape)), jnp.zeros((3, 3, 7, features))

    def text(run, platform):
        several = jax.jit(jax.vmap(lambda x, kernel: run(x, kernel, [(0, 5)], 3)))
        return several.trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()

    def convolutions(run, platform):
        return [line.partition("dim_numbers")[2] for line in text(run, platform).splitlines() if CONVOLUTION in line]

    assert CONVOLUTION not in text(ours, "cpu") and CONVOLUTION in text(plain, "cpu")
    for platform in ("cuda", "tpu"):
        assert sorted(convolutions(ours, platform)) == sorted(convolutions(plain, platform))
        assert len(convolutions(ours, platform)) == 3
