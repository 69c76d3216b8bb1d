"""Convolution of images, in groups of channels too."""

from collections.abc import Sequence

import jax

from research.kernels.choice import forward_mode
from research.kernels.cpu_convolution import Pads, convolve_on_cpu, convolve_windows

Zeros = str | Sequence[tuple[int, int]]


def convolve(x: jax.Array, kernel: jax.Array, stride: int, padding: Zeros, groups: int) -> jax.Array:
    """Convolve images [b, h, w, c] with a kernel [kh, kw, c / groups, channels], -> [b, h', w', channels].

    With one group a CPU gets gradients of its own (`convolve_on_cpu`), so forward mode, as in `jax.jvp` and
    `jax.hessian`, works, on any device, only within `forward_mode`, which leaves all to XLA; reverse mode always does.
    A kernel of one pixel is a product of matrices there, which has every derivative and copies nothing: a step of a
    ResNet-50 on small images took 0.55 of the processor time, one of a MobileNetV2 0.84.
    With several groups, no mesh axis may leave rows of the batch whole: XLA's partitioner (jaxlib 0.10.2) then
    multiplies the kernel's gradient by the size of that axis.
    """
    pads = pads_of(x, kernel, stride, padding)

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
    if groups > 1 or forward_mode.value:
        return by_xla(x, kernel)
    return jax.lax.platform_dependent(x, kernel, cpu=on_cpu, default=by_xla)


def pads_of(x: jax.Array, kernel: jax.Array, stride: int, padding: Zeros) -> Pads:
    """Return how many zeros a padding puts before and after the rows and columns of images [b, h, w, c]."""
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(x.shape[1:3], kernel.shape[:2], (stride, stride), padding)
    return tuple((low, high) for low, high in padding)
