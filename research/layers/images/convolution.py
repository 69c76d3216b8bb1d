"""Convolution, normalization, activation and pooling of images."""

from typing import Annotated, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.nn.initializers import Initializer

from research.errors import UsageError
from research.fields import Fraction, NonNegative, Range, Size
from research.kernels.convolution import convolve
from research.kernels.depthwise import convolve_depthwise
from research.kernels.windows import largest_of_windows
from research.layers.activations import Activation, activate
from research.layers.images.channel_normalization import ChannelNorm, ChannelNormalization

Pooling = Literal["max", "average"]
Padding = Literal["centred", "same", "valid"] | Annotated[int, Range(0)]

he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")

he_normal_depthwise = nn.initializers.variance_scaling(2.0, "fan_out", "normal", in_axis=2, out_axis=(), batch_axis=3)
"""Variance 2 / kernel area: each channel is a layer of its own, from which one channel comes."""


def pool(x: jax.Array, kind: Pooling, window: int) -> jax.Array:
    """Reduce windows of `window` x `window` pixels, without overlap: [b, h, w, c] -> [b, h // window, w // window, c].

    Raises:
        UsageError: the image is smaller than the window.
    """
    b, h, w, c = x.shape
    if min(h, w) < window:
        raise UsageError(f"an image of {h} x {w} is too small to pool by {window}; use fewer blocks or a smaller pool")
    if kind == "average":
        return nn.avg_pool(x, (window, window), strides=(window, window))
    return largest_of_windows(x, window)


class ConvolutionBlock(nn.Module):
    """Convolution of the same size, activation, pooling: [b, h, w, c] -> [b, h // pool, w // pool, channels]."""

    channels: Size
    kernel: Size = 3
    pool: Size = 2
    pooling: Pooling = "max"
    activation: Activation = "relu"
    dtype: Literal["float32", "bfloat16"] = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = Convolution(
            self.channels,
            self.kernel,
            padding="same",
            bias=True,
            dtype=self.dtype,
            kernel_init=nn.initializers.lecun_normal(),
            name="Conv_0",
        )(x)  # [b, h, w, channels]
        x = activate(self.activation, x)
        return x if self.pool == 1 else pool(x, self.pooling, self.pool)  # [b, h // pool, w // pool, channels]


class Convolution(nn.Module):
    """Two-dimensional convolution, [b, h, w, c] -> [b, h', w', channels].

    `centred` padding puts (kernel - 1) // 2 zeros on every side, `same` as many as make the output ceil(h / stride)
    pixels high, more of them below and to the right; the two differ where a stride meets an even number of pixels. A
    number is that of the zeros on every side.
    With `groups` equal to the channels of both sides it is depthwise. `standardized` gives the weights of each output
    channel mean 0 and variance 1 before they are used (Qiao et al., "Micro-batch training with batch-channel
    normalization and weight standardization", 2019), which undoes their initial scale. Kernels begin normal, with the
    variance 2 / (kernel area * channels) of He et al. (2015), for the backward pass. `jax.jvp` works within
    `research.kernels.choice.forward_mode` alone.

    Raises:
        UsageError: the groups do not divide the channels.
    """

    channels: Size
    kernel: Size | tuple[Size, Size] = 3
    stride: Size = 1
    groups: Size = 1
    padding: Padding = "centred"
    bias: bool = False
    standardized: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    kernel_init: Initializer = he_normal

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        b, h, w, c = x.shape
        if c % self.groups or self.channels % self.groups:
            raise UsageError(f"{self.groups} groups do not divide {c} input and {self.channels} output channels")
        sides = (self.kernel, self.kernel) if isinstance(self.kernel, int) else self.kernel
        kernel = self.param("kernel", self.kernel_init, (*sides, c // self.groups, self.channels))
        if self.standardized:
            kernel = standardized(kernel)
        x, kernel, padding = x.astype(self.dtype), kernel.astype(self.dtype), zeros_around(self.padding, sides)
        if self.groups == self.channels == c > 1:
            y = convolve_depthwise(x, kernel, self.stride, padding)  # [b, h', w', channels]
        else:
            y = convolve(x, kernel, self.stride, padding, self.groups)  # [b, h', w', channels]
        if self.bias:
            y = y + self.param("bias", nn.initializers.zeros, (self.channels,)).astype(self.dtype)[None, None, None]
        return y


def zeros_around(padding: Padding, sides: tuple[int, ...]) -> str | list[tuple[int, int]]:
    """Return what JAX calls a padding, for a kernel of these sides."""
    if isinstance(padding, int):
        return [(padding, padding) for _ in sides]
    return [((k - 1) // 2, (k - 1) // 2) for k in sides] if padding == "centred" else padding.upper()


def standardized(kernel: jax.Array, epsilon: float = 1e-5) -> jax.Array:
    """Return a kernel [h, w, c, channels] with mean 0 and variance 1 over all but the last axis."""
    centred = kernel - kernel.mean(axis=(0, 1, 2), keepdims=True)
    return centred * jax.lax.rsqrt(jnp.square(centred).mean(axis=(0, 1, 2), keepdims=True) + epsilon)


class ConvolutionUnit(nn.Module):
    """Convolution, normalization and activation, the last two if any: [b, h, w, c] -> [b, h', w', channels].

    The convolution has a bias where nothing normalizes it, unless `bias` says otherwise.
    """

    channels: Size
    kernel: Size | tuple[Size, Size] = 3
    stride: Size = 1
    groups: Size = 1
    padding: Padding = "centred"
    bias: bool | None = None
    norm: ChannelNorm = "batchnorm"
    norm_momentum: Fraction = 0.9
    norm_epsilon: NonNegative = 1e-5
    norm_scale_init: Initializer = nn.initializers.ones
    activation: Activation | None = "relu"
    standardized: bool = False
    dtype: Literal["float32", "bfloat16"] = "float32"
    kernel_init: Initializer = he_normal

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = Convolution(
            self.channels,
            self.kernel,
            self.stride,
            self.groups,
            self.padding,
            self.norm == "none" if self.bias is None else self.bias,
            self.standardized,
            self.dtype,
            self.kernel_init,
            name="convolution",
        )(x)  # [b, h', w', channels]
        norm = ChannelNormalization(
            self.norm, self.norm_momentum, self.norm_epsilon, self.dtype, self.norm_scale_init, name="norm"
        )
        x = norm(x, train)
        return x if self.activation is None else activate(self.activation, x)
