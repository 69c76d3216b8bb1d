"""Inverted residual blocks, of which MobileNet v2, MobileNet v3 and EfficientNet are made."""

from typing import Any, Literal

import flax.linen as nn
import jax

from research.fields import Rate, Size, annotations
from research.layers.activations import Activation
from research.layers.images.convolution import he_normal, he_normal_depthwise
from research.layers.images.squeeze_excitation import SqueezeExcitation
from research.layers.stochastic_depth import StochasticDepth
from research.models.images.fields import RepeatedFields


class InvertedResidualFields(RepeatedFields):
    """What the blocks of such a network share with it."""

    depthwise: bool = True
    """Whether the spatial convolution of a block sees each channel alone; a full one mixes them, and costs far more."""
    residual: bool = True
    """Whether what enters a block is added to what it computes, where both have the same shape."""
    squeeze_activation: Activation = "relu"
    """Inside squeeze and excitation."""
    squeeze_gate: Activation = "sigmoid"
    """Makes the gates of squeeze and excitation."""
    padding: Literal["centred", "same"] = "centred"
    """Zeros around an image that a stride shrinks: evenly; or, as in TensorFlow, more below and on the right."""


class InvertedResidual(InvertedResidualFields):
    """Expand, convolve in space, weigh the channels, project: [b, h, w, c] -> [b, h / stride, w / stride, channels].

    "Inverted" because the wide part is inside and the shortcut joins the narrow ends, after which there is no
    activation. Without a first convolution where there is nothing to expand. Source: Sandler et al., "MobileNetV2:
    Inverted residuals and linear bottlenecks" (2018, section 3.3); squeeze and excitation there as in Howard et al.,
    "Searching for MobileNetV3" (2019, figure 4).
    """

    channels: Size = 16
    expanded: Size = 96
    kernel: Size = 3
    stride: Size = 1
    squeezed: Size | None = None
    stochastic_depth: Rate = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        b, h, w, c = x.shape
        branch = x
        if self.expanded != c:
            branch = self.unit(self.expanded, 1, name="expand")(branch, train)  # [b, h, w, expanded]
        spatial = self.unit(
            self.expanded,
            self.kernel,
            self.stride,
            padding=self.padding,
            groups=self.expanded if self.depthwise else 1,
            kernel_init=he_normal_depthwise if self.depthwise else he_normal,
            name="spatial",
        )
        branch = spatial(branch, train)  # [b, h / stride, w / stride, expanded]
        if self.squeezed is not None:
            branch = SqueezeExcitation(
                self.squeezed, self.squeeze_activation, self.squeeze_gate, self.dtype, name="squeeze_excitation"
            )(branch)
        branch = self.unit(self.channels, 1, activation=None, name="project")(branch, train)
        if not self.residual or branch.shape != x.shape:
            return branch
        return x + StochasticDepth(self.stochastic_depth, name="stochastic_depth")(branch, train)


class InvertedResidualStage(InvertedResidualFields):
    """Blocks of equal width, the first of which may shrink the image: [b, h, w, c] -> [b, h', w', channels]."""

    channels: Size = 16
    expansion: Size = 6
    kernel: Size = 3
    stride: Size = 1
    squeeze_excitation: Size | None = None
    stochastic_depth: tuple[Rate, ...] = (0.0,)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        for index, rate in enumerate(self.stochastic_depth):
            c = x.shape[-1]
            x = self.repeated(InvertedResidual)(
                **inverted_residual_fields(self),
                channels=self.channels,
                expanded=c * self.expansion,
                kernel=self.kernel,
                stride=self.stride if index == 0 else 1,
                squeezed=None if self.squeeze_excitation is None else max(1, c // self.squeeze_excitation),
                stochastic_depth=rate,
                name=f"block_{index}",
            )(x, train)
        return x


def inverted_residual_fields(model: InvertedResidualFields) -> dict[str, Any]:
    """Return the fields that stages and blocks have in common with `model`, by name."""
    return {name: getattr(model, name) for name in annotations(InvertedResidualFields)}
