"""Xception: depthwise separable convolutions between residual connections."""

from typing import Any, Literal

import flax.linen as nn
import jax

from research.fields import Size, annotations
from research.layers.activations import Activation, activate
from research.layers.images.convolution import Convolution
from research.layers.images.pooling import Reduction, overlapping_pool, require_side
from research.models.images.fields import ImageClassifierFields, RepeatedFields, normalization


class XceptionFields(RepeatedFields):
    """What the blocks of an Xception share with it."""

    depthwise: bool = True
    """Whether 3 x 3 convolutions are separable, each channel by itself and then all of a pixel; or full ones."""
    intermediate_activation: Activation | None = None
    """Between the two parts of a separable convolution; None has none, as published, which section 4.7 found best."""
    residual: bool = True
    """Whether what enters a block is added to what it computes."""
    padding: Literal["same", "centred"] = "same"
    """Where the windows of maxima begin in images of an even number of pixels: at the first pixel, as published, or
    one before it, as in timm."""

    def separable(self, x: jax.Array, train: bool, channels: int, name: str) -> jax.Array:
        """Convolve by 3 x 3, separably if so asked, and normalize: [b, h, w, c] -> [b, h, w, channels]."""
        return SeparableUnit(**xception_fields(self), channels=channels, name=name)(x, train)


class Xception(XceptionFields, ImageClassifierFields):
    """A stem, three flows of separable convolutions, the mean over pixels, logits: [b, h, w, c] -> [b, classes].

    Chollet, "Xception: deep learning with depthwise separable convolutions" (2017), figure 5; `xception()` returns the
    published size. Each block of the entry flow, and the one of the exit flow, halves the image. Logits are float32.
    With `train=True` it draws from the `dropout` stream. Sown into `intermediates`: `stem_output`, `stage_0_output`
    (entry), `stage_1_output` (middle), `stage_2_output` (exit) and `pooled`.
    """

    stem: Literal["imagenet", "small"] = "imagenet"
    """Two 3 x 3 convolutions without padding, the first with stride 2; or two that keep the size, for images of a few
    pixels."""
    stem_channels: tuple[Size, Size] = (32, 64)
    """Of the convolutions of the stem."""
    entry: tuple[Size, ...] = (128, 256, 728)
    """Channels of each block of the entry flow; those of the middle flow are the last ones."""
    middle: Size = 8
    """Blocks of the middle flow."""
    exit: tuple[Size, Size, Size] = (1024, 1536, 2048)
    """Channels of the block of the exit flow, and of the two convolutions after it."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        imagenet = self.stem == "imagenet"
        require_side(x, (Reduction(3, 2), Reduction(3, 1)) if imagenet else (), 'set model.stem to "small"')
        padding: dict[str, Any] = {"padding": "valid" if imagenet else "centred"}
        for index, (channels, stride) in enumerate(zip(self.stem_channels, (2 if imagenet else 1, 1), strict=True)):
            x = self.unit(channels, 3, stride, **padding, name=f"stem_{index}")(x, train)
        self.sow("intermediates", "stem_output", x)
        fields, block = xception_fields(self), self.repeated(XceptionBlock)
        for index, width in enumerate(self.entry):
            entry = block(**fields, widths=(width, width), stride=2, activated=index == 0, name=f"entry_{index}")
            x = entry(x, train)
        self.sow("intermediates", "stage_0_output", x)
        width = self.entry[-1]
        for index in range(self.middle):
            x = block(**fields, widths=(width, width, width), name=f"middle_{index}")(x, train)
        self.sow("intermediates", "stage_1_output", x)
        x = block(**fields, widths=(width, self.exit[0]), stride=2, name="exit_0")(x, train)
        for index, width in enumerate(self.exit[1:], start=1):
            x = activate(self.activation, self.separable(x, train, width, f"exit_{index}"))
        self.sow("intermediates", "stage_2_output", x)
        return self.head(x, train)


class XceptionBlock(XceptionFields):
    """Activations and convolutions, and a maximum if it shrinks: [b, h, w, c] -> [b, h / stride, w / stride, c'].

    Where the shape changes, a 1 x 1 convolution changes that of the input too. The first activation is left out where
    the input is `activated` already.
    """

    widths: tuple[Size, ...] = (728, 728, 728)
    stride: Size = 1
    activated: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        branch = x
        for index, width in enumerate(self.widths):
            if index or not self.activated:
                branch = activate(self.activation, branch)
            branch = self.separable(branch, train, width, f"unit_{index}")
        if self.stride != 1:
            branch = overlapping_pool(branch, "max", 3, self.stride, self.padding)
        if not self.residual:
            return branch
        if self.stride != 1 or x.shape[-1] != branch.shape[-1]:
            x = self.unit(branch.shape[-1], 1, self.stride, activation=None, name="projection")(x, train)
        return x + branch


class SeparableUnit(XceptionFields):
    """A 3 x 3 convolution, by channel and then by pixel, and normalization: [b, h, w, c] -> [b, h, w, channels]."""

    channels: Size = 728

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        b, h, w, c = x.shape
        rest: dict[str, Any] = {name: getattr(self, name) for name in ("standardized", "dtype")}
        last = {**rest, "bias": self.norm == "none"}
        if self.depthwise:
            x = Convolution(c, 3, groups=c, **rest, name="depthwise")(x)  # [b, h, w, c]
            if self.intermediate_activation is not None:
                x = activate(self.intermediate_activation, x)
            x = Convolution(self.channels, 1, **last, name="pointwise")(x)  # [b, h, w, channels]
        else:
            x = Convolution(self.channels, 3, **last, name="convolution")(x)  # [b, h, w, channels]
        return normalization(self, "norm")(x, train)


def xception_fields(model: XceptionFields) -> dict[str, Any]:
    """Return the fields that blocks have in common with `model`, by name."""
    return {name: getattr(model, name) for name in annotations(XceptionFields)}


def xception(**fields: Any) -> Xception:
    """Return the published Xception for ImageNet, with `fields` exchanged.

    For small images: `xception(stem="small", stem_channels=(8, 16), entry=(32, 64), middle=2, exit=(96, 128, 128),
    classes=10)`, say. Parameters: 22,855,952.
    """
    return Xception(**{"classes": 1000, "dropout": 0.5, **fields})
