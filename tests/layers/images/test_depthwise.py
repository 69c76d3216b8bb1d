import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.layers import Convolution
from research.layers.images.depthwise import convolve, convolve_depthwise, he_normal_depthwise

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


def test_a_convolution_with_as_many_groups_as_channels_mixes_none():
    x = jnp.asarray(GENERATOR.normal(size=(1, 5, 7, 3)), jnp.float32)
    layer = Convolution(3, groups=3)
    variables = layer.init(jax.random.key(0), x)
    assert variables["params"]["kernel"].shape == (3, 3, 1, 3)
    changed = layer.apply(variables, x.at[..., 1].add(1.0)) != layer.apply(variables, x)
    assert changed.any(axis=(0, 1, 2)).tolist() == [False, True, False]
    low = Convolution(3, groups=3, dtype="bfloat16")
    np.testing.assert_allclose(low.apply(variables, x), layer.apply(variables, x), rtol=0.02, atol=0.02)
    assert low.apply(variables, x).dtype == jnp.bfloat16


def test_the_initial_variance_does_not_depend_on_the_channels():
    kernel = he_normal_depthwise(jax.random.key(0), (5, 5, 1, 4001), jnp.float32)
    assert float(kernel.std()) == pytest.approx((2 / 25) ** 0.5, rel=0.02)
