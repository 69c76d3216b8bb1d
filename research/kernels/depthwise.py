"""Convolution of each channel alone."""

import functools

import jax
import jax.numpy as jnp

from research.kernels.convolution import Zeros, convolve, pads_of

# Entries of the largest kernel that is added up, 5 x 5.
LARGEST_SUM = 25


def convolve_depthwise(x: jax.Array, kernel: jax.Array, stride: int, padding: Zeros) -> jax.Array:
    """Convolve each channel with a kernel of its own, [b, h, w, c] and [kh, kw, 1, c] -> [b, h', w', c].

    On a CPU it adds up shifted images, each times one entry of the kernel, since XLA's depthwise convolution is slow
    there: for 64 images of 28 x 28 x 48 and kernels of 3 x 3 it took 44 ms of processor time, the sum 1.3 ms; with both
    gradients 111 and 35 ms. Kernels of more than 5 x 5 are left to XLA: with 7 x 7 a step of a small ConvNeXt took as
    long, and 11 s instead of 2 to compile.
    """
    pads = pads_of(x, kernel, stride, padding)
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
