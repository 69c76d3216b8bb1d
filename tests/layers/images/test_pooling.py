import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from research.errors import UsageError
from research.layers.images.pooling import (
    Reduction,
    adaptive_average_pool,
    overlapping_pool,
    require_side,
    smallest_side,
)

X = np.random.default_rng(0).normal(size=(2, 11, 7, 3)).astype(np.float32)


def pooled_by_hand(x, kind, window, stride, before, after):
    """Windows by loops over an image that is padded by (rows, columns) before and after it."""
    fill = -np.inf if kind == "max" else 0.0
    pads = [(0, 0), *zip(before, after, strict=True), (0, 0)]
    x = np.pad(x.astype(np.float64), pads, constant_values=fill)
    rows, columns = ((side - window) // stride + 1 for side in x.shape[1:3])
    out = np.zeros((len(x), rows, columns, x.shape[-1]))
    for i, j in itertools.product(range(rows), range(columns)):
        tile = x[:, i * stride : i * stride + window, j * stride : j * stride + window]
        out[:, i, j] = tile.max((1, 2)) if kind == "max" else tile.mean((1, 2))
    return out


@pytest.mark.parametrize("kind", ["max", "average"])
@pytest.mark.parametrize(
    ("edges", "window", "stride", "before", "after"),
    [
        ("valid", 3, 2, (0, 0), (0, 0)),
        ("valid", 5, 3, (0, 0), (0, 0)),
        ("centred", 3, 1, (1, 1), (1, 1)),
        ("centred", 5, 2, (2, 2), (2, 2)),
        ("same", 3, 3, (0, 1), (1, 1)),  # 11 rows need one more pixel, 7 columns two
        ("ceiling", 3, 2, (0, 0), (0, 0)),
        ("ceiling", 5, 4, (0, 0), (2, 2)),
        ("ceiling", 13, 2, (0, 0), (2, 6)),  # the window is larger than the image
    ],
)
def test_overlapping_pooling_equals_plain_loops(kind, edges, window, stride, before, after):
    expected = pooled_by_hand(X, kind, window, stride, before, after)
    np.testing.assert_allclose(overlapping_pool(X, kind, window, stride, edges), expected, rtol=1e-5, atol=1e-6)


def test_ceiling_reaches_every_pixel_and_has_no_window_that_begins_outside():
    for side, window, stride in itertools.product((1, 2, 5, 8), (2, 5), (1, 2)):
        x = np.arange(side, dtype=np.float32)[None, :, None, None] * np.ones((1, 1, side, 1), np.float32)
        out = overlapping_pool(x, "max", window, stride, "ceiling")
        assert out.max() == side - 1
        assert np.all(np.isfinite(out))
        assert (out.shape[1] - 1) * stride < side


@pytest.mark.parametrize("side", [1, 2, 3, 5, 7, 11, 17])
def test_adaptive_pooling_equals_plain_loops(side):
    b, h, w, c = X.shape
    expected = np.zeros((b, side, side, c))
    for i, j in itertools.product(range(side), range(side)):
        rows, columns = (
            slice(int(np.floor(k * n / side)), int(np.ceil((k + 1) * n / side))) for k, n in ((i, h), (j, w))
        )
        expected[:, i, j] = X[:, rows, columns].mean((1, 2))
    np.testing.assert_allclose(adaptive_average_pool(X, side), expected, rtol=1e-5, atol=1e-6)


def test_adaptive_pooling_keeps_the_type_and_what_has_the_size_already():
    assert adaptive_average_pool(jnp.asarray(X, jnp.bfloat16), 3).dtype == jnp.bfloat16
    square = X[:, :7]
    assert adaptive_average_pool(square, 7) is square


def test_the_smallest_side_is_the_first_that_leaves_a_pixel():
    generator = np.random.default_rng(0)
    for _ in range(50):
        reductions = [Reduction(*generator.integers(1, 6, 2), generator.integers(0, 3)) for _ in range(4)]

        def left(side, reductions=reductions):
            for window, stride, added in reductions:
                side = (side + added - window) // stride + 1 if side > 0 else 0
            return side

        assert smallest_side(reductions) == next(side for side in range(1, 10_000) if left(side) >= 1)


def test_an_image_that_is_too_small_is_refused_with_what_the_model_needs():
    reductions = (Reduction(11, 4, added=4), *[Reduction(3, 2)] * 3)
    require_side(np.zeros((1, 63, 63, 3)), reductions, "use larger images")
    with pytest.raises(UsageError, match="an image of 63 x 62 is too small: the model needs 63 x 63; use larger"):
        require_side(np.zeros((1, 63, 62, 3)), reductions, "use larger images")
