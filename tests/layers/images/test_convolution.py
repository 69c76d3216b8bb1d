import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.errors import UsageError
from research.layers import Convolution, ConvolutionBlock, activate, pool
from research.layers.images.convolution import he_normal_depthwise

X = np.random.default_rng(0).normal(size=(2, 11, 7, 3)).astype(np.float32)


def pooled_by_hand(x, kind, window):
    b, h, w, c = x.shape
    out = np.zeros((b, h // window, w // window, c))
    for i in range(h // window):
        for j in range(w // window):
            tile = x[:, i * window : (i + 1) * window, j * window : (j + 1) * window].astype(np.float64)
            out[:, i, j] = tile.max((1, 2)) if kind == "max" else tile.mean((1, 2))
    return out


@pytest.mark.parametrize("window", [1, 2, 3, 5, 7])
@pytest.mark.parametrize("kind", ["max", "average"])
def test_pooling_equals_plain_loops(kind, window):
    np.testing.assert_allclose(pool(X, kind, window), pooled_by_hand(X, kind, window), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(pool(X - 9, kind, window), pooled_by_hand(X - 9, kind, window), rtol=1e-5)


@pytest.mark.parametrize("kind", ["max", "average"])
def test_pooling_treats_channels_and_examples_alike(kind):
    channels, examples = np.array([2, 0, 1]), np.array([1, 0])
    np.testing.assert_array_equal(pool(X[..., channels], kind, 2), pool(X, kind, 2)[..., channels])
    np.testing.assert_array_equal(pool(X[examples], kind, 2), pool(X, kind, 2)[examples])


@pytest.mark.parametrize("kind", ["max", "average"])
def test_pooling_of_the_transposed_image_is_transposed(kind):
    np.testing.assert_allclose(pool(X.swapaxes(1, 2), kind, 3), pool(X, kind, 3).swapaxes(1, 2), rtol=1e-6)


@pytest.mark.parametrize("shape", [(1, 7, 11, 1), (1, 11, 7, 1), (1, 0, 11, 1)])
def test_an_image_smaller_than_the_window_is_refused(shape):
    with pytest.raises(UsageError, match=rf"an image of {shape[1]} x {shape[2]} is too small to pool by 8; use"):
        pool(np.zeros(shape, np.float32), "max", 8)


@pytest.mark.parametrize("window", [1, 2, 5])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_a_block_is_convolution_then_activation_then_pooling(window, activation):
    block = ConvolutionBlock(5, kernel=3, pool=window, pooling="average", activation=activation)
    variables = block.init(jax.random.key(0), X)
    kernel = variables["params"]["Conv_0"]["kernel"]
    assert kernel.shape == (3, 3, 3, 5)
    dimensions = ("NHWC", "HWIO", "NHWC")
    convolved = jax.lax.conv_general_dilated(X, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=dimensions)
    expected = pooled_by_hand(np.asarray(activate(activation, convolved)), "average", window)
    out = block.apply(variables, X)
    assert out.shape == (2, 11 // window, 7 // window, 5)
    np.testing.assert_allclose(out, expected, rtol=1e-4, atol=1e-5)


def test_a_convolution_with_as_many_groups_as_channels_mixes_none():
    x = jnp.asarray(X[:1, :5])
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
