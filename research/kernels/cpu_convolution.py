"""Convolution with gradients that a CPU computes fast, also in loops and of several kernels at once."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

Pads = tuple[tuple[int, int], ...]

# Up to so many entries of a kernel [kh, kw, c] for each of its channels, as 3 x 3 pixels of four channels, the product
# of matrices takes less time than XLA's convolution, and its windows little memory.
FEW_ENTRIES = 36


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def convolve_on_cpu(x: jax.Array, kernel: jax.Array, stride: int, pads: Pads) -> jax.Array:
    """Convolve images [b, h, w, c] with a kernel [kh, kw, c, channels], -> [b, h', w', channels].

    The gradients are convolutions of the same axes, for in a scan XLA computes others, such as its own, by plain loops,
    which take an order of magnitude longer on x86-64 with jaxlib 0.10.2. `jax.vmap` over kernels makes all of them
    products of matrices, since XLA's convolution in groups takes longer. Derivatives of any order are in reverse mode.
    """
    return _forward(stride, pads)(x, kernel)


def convolve_windows(x: jax.Array, kernel: jax.Array, stride: int, pads: Pads) -> jax.Array:
    """Convolve as the product of the matrix of all windows with that of the kernel."""
    rows, columns, c, channels = kernel.shape
    padded = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    bottom, right = padded.shape[1] - rows + 1, padded.shape[2] - columns + 1
    shifted = [padded[:, i : i + bottom : stride, j : j + right : stride] for i in range(rows) for j in range(columns)]
    windows = jnp.concatenate(shifted, axis=-1)  # [b, h', w', kh kw c]
    b, h, w, d = windows.shape
    return (windows.reshape(-1, d) @ kernel.reshape(d, channels)).reshape(b, h, w, channels)


def _saving(x: jax.Array, kernel: jax.Array, stride: int, pads: Pads) -> tuple[jax.Array, Any]:
    """Convolve, and return what the gradients need too."""
    return convolve_on_cpu(x, kernel, stride, pads), (x, kernel)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _gradients(stride: int, pads: Pads, saved: Any, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the gradients by images and kernel."""
    return _backward(stride, pads)(*saved, dy)


def _gradients_saving(stride: int, pads: Pads, saved: Any, dy: jax.Array) -> tuple[Any, Any]:
    """Return the gradients, and what theirs need."""
    return _gradients(stride, pads, saved, dy), (*saved, dy)


def _second_gradients(stride: int, pads: Pads, saved: Any, cotangents: Any) -> tuple[Any, jax.Array]:
    """Return the gradients of the gradients, those of products of matrices."""
    *by_inputs, by_dy = jax.vjp(functools.partial(_products_backward, stride, pads), *saved)[1](cotangents)
    return tuple(by_inputs), by_dy


def _products_backward(
    stride: int, pads: Pads, x: jax.Array, kernel: jax.Array, dy: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Return the gradients by images and kernel, of products of matrices."""
    return jax.vjp(lambda x, kernel: convolve_windows(x, kernel, stride, pads), x, kernel)[1](dy)


_gradients.defvjp(_gradients_saving, _second_gradients)
convolve_on_cpu.defvjp(_saving, _gradients)


@functools.cache
def _forward(stride: int, pads: Pads) -> Any:
    """Return XLA's convolution, which is a product of matrices under `jax.vmap` over kernels, or where it is small."""

    @jax.custom_batching.custom_vmap
    def forward(x: jax.Array, kernel: jax.Array) -> jax.Array:
        if _is_small(kernel):
            return convolve_windows(x, kernel, stride, pads)
        return _canonical(x, kernel, pads, stride=stride)

    @forward.def_vmap
    def batched(size: int, differ: list[bool], x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, bool]:
        def one(x: jax.Array, kernel: jax.Array) -> jax.Array:
            if differ[1]:
                return convolve_windows(x, kernel, stride, pads)
            return _canonical(x, kernel, pads, stride=stride)

        return jax.vmap(one, _axes(differ))(x, kernel), True

    return forward


@functools.cache
def _backward(stride: int, pads: Pads) -> Any:
    """Return the gradients by images and kernel, which are products of matrices under `jax.vmap`."""

    @jax.custom_batching.custom_vmap
    def backward(x: jax.Array, kernel: jax.Array, dy: jax.Array) -> tuple[jax.Array, jax.Array]:
        sides = tuple(zip(x.shape[1:3], kernel.shape[:2], dy.shape[1:3], pads, strict=True))
        reach = [(out - 1) * stride + 1 for _, _, out, _ in sides]  # of dy, with zeros between its pixels
        if _is_small(kernel):
            (dx,) = jax.vjp(lambda x: convolve_windows(x, kernel, stride, pads), x)[1](dy)
        else:
            around = [(k - 1 - low, n + low - far) for (n, k, _, (low, _)), far in zip(sides, reach, strict=True)]
            dx = _canonical(dy, kernel[::-1, ::-1].swapaxes(2, 3), around, spread=stride)
        over = [(low, k - 1 + far - n - low) for (n, k, _, (low, _)), far in zip(sides, reach, strict=True)]
        dkernel = _canonical(x.transpose(3, 1, 2, 0), dy.transpose(1, 2, 0, 3), over, dilation=stride)
        return dx, dkernel.transpose(1, 2, 0, 3)  # from [c, kh, kw, channels]

    @backward.def_vmap
    def batched(size: int, differ: list[bool], *arguments: jax.Array) -> tuple[Any, tuple[bool, bool]]:
        one = functools.partial(_products_backward, stride, pads)
        return jax.vmap(one, _axes(differ))(*arguments), (True, True)

    return backward


def _is_small(kernel: jax.Array) -> bool:
    """Return whether a kernel [kh, kw, c, channels] has few entries for each channel."""
    return math.prod(kernel.shape[:3]) <= FEW_ENTRIES


def _axes(differ: list[bool]) -> list[int | None]:
    """Return the axes to map over: the first of what differs."""
    return [0 if each else None for each in differ]


def _canonical(
    x: jax.Array,
    kernel: jax.Array,
    pads: Sequence[tuple[int, int]],
    stride: int = 1,
    spread: int = 1,
    dilation: int = 1,
) -> jax.Array:
    """Convolve by XLA, with the axes in the order that its compiler for CPUs has a fast routine for."""
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        pads,
        lhs_dilation=(spread, spread),
        rhs_dilation=(dilation, dilation),
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
