"""Pooling by windows that overlap, and to a grid of any size; and how large an image a network needs."""

from collections.abc import Iterable
from typing import Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from research.errors import UsageError
from research.layers.images.convolution import Pooling

Edges = Literal["valid", "centred", "same", "ceiling"]


def overlapping_pool(x: jax.Array, kind: Pooling, window: int, stride: int, edges: Edges = "valid") -> jax.Array:
    """Reduce windows of `window` x `window` pixels, every `stride` pixels: [b, h, w, c] -> [b, h', w', c].

    What lies outside of the image is -infinity to a maximum, and 0 to an average, which counts it. `valid` windows lie
    inside; `centred` ones begin (window - 1) // 2 pixels outside, on every side; `same` ones are ceil(h / stride), what
    lies outside being divided evenly, or one pixel more of it below and to the right; `ceiling` ones begin at the first
    pixel and reach the last one or beyond.
    """
    reduce = nn.max_pool if kind == "max" else nn.avg_pool
    match edges:
        case "valid" | "same":
            return reduce(x, (window, window), (stride, stride), edges.upper())
        case "centred":
            pads = [((window - 1) // 2, (window - 1) // 2)] * 2
        case "ceiling":
            b, h, w, c = x.shape
            pads = [(0, max(window - side, (window - side) % stride)) for side in (h, w)]
    return reduce(x, (window, window), (stride, stride), pads)


def adaptive_average_pool(x: jax.Array, side: int) -> jax.Array:
    """Return means over `side` x `side` windows that cover the image evenly: [b, h, w, c] -> [b, side, side, c].

    Window i of n pixels goes from floor(i n / side) to ceil((i + 1) n / side), as in PyTorch, so windows overlap where
    `side` does not divide n, and repeat pixels where n is smaller. An image of that size stays as it is.
    """
    b, h, w, c = x.shape
    if (h, w) == (side, side):
        return x
    rows, columns = (jnp.asarray(_window_means(n, side), x.dtype) for n in (h, w))  # [side, h], [side, w]
    return jnp.einsum("ph,qw,bhwc->bpqc", rows, columns, x, precision=jax.lax.Precision.HIGHEST)


def _window_means(n: int, side: int) -> np.ndarray:
    """Return the matrix [side, n] that takes the mean of each of `side` windows of n pixels."""
    means = np.zeros((side, n))
    for index in range(side):
        window = slice(index * n // side, -(-(index + 1) * n // side))
        means[index, window] = 1 / (window.stop - window.start)
    return means


class Reduction(NamedTuple):
    """A convolution or pooling that makes an image smaller: side of its window, stride, and pixels added in all."""

    window: int
    stride: int
    added: int = 0


def smallest_side(reductions: Iterable[Reduction]) -> int:
    """Return how many pixels high and wide an image must be for the reductions, in their order, to leave one pixel."""
    side = 1
    for window, stride, added in reversed(tuple(reductions)):
        side = max(1, (side - 1) * stride + window - added)
    return side


def require_side(x: jax.Array, reductions: Iterable[Reduction], remedy: str) -> None:
    """Raise `UsageError`, with a `remedy`, where the images [b, h, w, c] are too small for the reductions."""
    b, h, w, c = x.shape
    side = smallest_side(reductions)
    if min(h, w) < side:
        raise UsageError(f"an image of {h} x {w} is too small: the model needs {side} x {side}; {remedy}")
