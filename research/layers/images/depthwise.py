"""Convolution in groups of channels, and of each channel alone."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from research.kernels.convolution import Pads, convolve_on_cpu, convolve_windows

LARGEST_SUM = 25

Zeros = str | Sequence[tuple[int, int]]

he_normal_depthwise = nn.initializers.variance_scaling(2.0, "fan_out", "normal", in_axis=2, out_axis=(), batch_axis=3)
"""Variance 2 / kernel area: each channel is a layer of its own, from which one channel comes."""


def convolve(
    x: jax.Array, kernel: jax.Array, stride: int, padding: Zeros, groups: int, forward_mode: bool = False
) -> jax.Array:
    """Convolve images [b, h, w, c] with a kernel [kh, kw, c / groups, channels], -> [b, h', w', channels].

    With one group a CPU gets gradients of its own (`convolve_on_cpu`), so forward mode, as in `jax.jvp` and
    `jax.hessian`, works, on any device, only with `forward_mode`, which leaves all to XLA; reverse mode always does.
    A kernel of one pixel is a product of matrices there, which has every derivative and copies nothing: a step of a
    ResNet-50 on small images took 0.55 of the processor time, one of a MobileNetV2 0.84.
    With several groups, no mesh axis may leave rows of the batch whole: XLA's partitioner (jaxlib 0.10.2) then
    multiplies the kernel's gradient by the size of that axis.
    """
    pads = _pads(x, kernel, stride, padding)

    def by_xla(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            x,
            kernel,
            window_strides=(stride, stride),
            padding=pads,
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
            feature_group_count=groups,
        )

    def on_cpu(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return convolve_on_cpu(x, kernel, stride, pads)

    def by_products(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return convolve_windows(x, kernel, stride, pads)

    if groups == 1 and kernel.shape[:2] == (1, 1):
        return jax.lax.platform_dependent(x, kernel, cpu=by_products, default=by_xla)
    if groups > 1 or forward_mode:
        return by_xla(x, kernel)
    return jax.lax.platform_dependent(x, kernel, cpu=on_cpu, default=by_xla)


def convolve_depthwise(x: jax.Array, kernel: jax.Array, stride: int, padding: Zeros) -> jax.Array:
    """Convolve each channel with a kernel of its own, [b, h, w, c] and [kh, kw, 1, c] -> [b, h', w', c].

    On a CPU it adds up shifted images, each times one entry of the kernel, since XLA's depthwise convolution is slow
    there: for 64 images of 28 x 28 x 48 and kernels of 3 x 3 it took 44 ms of processor time, the sum 1.3 ms; with both
    gradients 111 and 35 ms. Kernels of more than 5 x 5 are left to XLA: with 7 x 7 a step of a small ConvNeXt took as
    long, and 11 s instead of 2 to compile.
    """
    pads = _pads(x, kernel, stride, padding)
    rows, columns, _, c = kernel.shape

    def shifted(x: jax.Array, kernel: jax.Array) -> jax.Array:
        padded = jnp.pad(x.astype(jnp.float32), ((0, 0), *pads, (0, 0)))
        bottom, right = padded.shape[1] - rows + 1, padded.shape[2] - columns + 1
        terms = (
            padded[:, i : i + bottom : stride, j : j + right : stride] * kernel[i, j, 0][None, None, None]
            for i in range(rows)
            for j in range(columns)
        )
        return functools.reduce(jnp.add, terms).astype(x.dtype)

    def grouped(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return convolve(x, kernel, stride, pads, groups=c)

    if rows * columns > LARGEST_SUM:
        return grouped(x, kernel)
    return jax.lax.platform_dependent(x, kernel, cpu=shifted, default=grouped)


def _pads(x: jax.Array, kernel: jax.Array, stride: int, padding: Zeros) -> Pads:
    """Return how many zeros a padding puts before and after rows and columns."""
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], (stride, stride), padding)
    return tuple((low, high) for low, high in padding)
