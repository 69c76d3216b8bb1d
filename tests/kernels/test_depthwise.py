import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.kernels.convolution import convolve
from research.kernels.depthwise import convolve_depthwise

GENERATOR = np.random.default_rng(0)


@pytest.mark.parametrize("padding", ["SAME", "VALID", [(1, 1), (2, 2)]])
@pytest.mark.parametrize("stride", [1, 2])
def test_shifted_sums_equal_the_grouped_convolution_gradients_too(stride, padding):
    x = jnp.asarray(GENERATOR.normal(size=(2, 11, 8, 7)), jnp.float32)
    kernel = jnp.asarray(GENERATOR.normal(size=(3, 5, 1, 7)), jnp.float32)

    def run(function, *groups):
        y, pull = jax.vjp(lambda *inputs: function(*inputs, stride, padding, *groups), x, kernel)
        return y, *pull(jnp.cos(y))

    for ours, expected in zip(run(convolve_depthwise), run(convolve, 7), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def test_accelerators_get_the_grouped_convolution():
    x, kernel = jnp.zeros((2, 11, 7, 5)), jnp.zeros((3, 3, 1, 5))
    lower = jax.jit(lambda x, kernel: convolve_depthwise(x, kernel, 1, "SAME")).trace(x, kernel).lower
    texts = {platform: lower(lowering_platforms=(platform,)).as_text() for platform in ("cpu", "cuda", "tpu")}
    assert {platform: "stablehlo.convolution" in text for platform, text in texts.items()} == {
        "cpu": False,
        "cuda": True,
        "tpu": True,
    }
