"""MobileNet v1: depthwise separable convolutions, one after the other."""

from typing import Any

import flax.linen as nn
import jax

from research.fields import Size, annotations
from research.layers.images.convolution import he_normal_depthwise
from research.layers.images.squeeze_excitation import SqueezeExcitation
from research.models.images.fields import ImageClassifierFields, RepeatedFields, Stem
from research.models.stages import rows, widened


class SeparableFields(RepeatedFields):
    """What the blocks of a MobileNet share with it."""

    depthwise: bool = True
    """Whether a block convolves each channel alone, then mixes them pixel by pixel; if not, it does both at once."""
    residual: bool = False
    """Whether what enters a block is added to what it computes, where the shapes are equal; as published it is not."""
    squeeze_excitation: Size | None = None
    """Factor by which squeeze and excitation reduces the channels of a block; None, as published, has none."""


class MobileNet(SeparableFields, ImageClassifierFields):
    """A stem, depthwise separable convolutions, the mean over pixels, logits: [b, h, w, c] -> [b, classes], float32.

    Howard et al., "MobileNets: Efficient convolutional neural networks for mobile vision applications" (2017), table 1;
    without `depthwise`, the network of full convolutions that table 4 compares it with. With `train=True` it draws from
    the `dropout` stream. Sown into `intermediates`: `stem_output`, `stage_0_output` and so on, and `pooled`.
    """

    width_percent: Size = 100
    """Channels of every layer, in percent of those of the table: the width multiplier."""
    channels: tuple[Size, ...] = (64, 128, 256, 512, 1024)
    """Of the blocks of each stage."""
    blocks: tuple[Size, ...] = (1, 2, 2, 6, 2)
    """Blocks of each stage."""
    strides: tuple[Size, ...] = (1, 2, 2, 2, 2)
    """Of the first block of each stage."""
    stem: Stem = "imagenet"
    """A 3 x 3 convolution of stride 2; or of stride 1, for images of a few pixels."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        stem = self.unit(widened(32, self.width_percent), 3, 2 if self.stem == "imagenet" else 1, name="stem")
        x = stem(x, train)
        self.sow("intermediates", "stem_output", x)
        stages = rows(channels=self.channels, blocks=self.blocks, strides=self.strides)
        for stage, (channels, blocks, stride) in enumerate(stages):
            x = SeparableStage(
                **separable_fields(self),
                channels=widened(channels, self.width_percent),
                blocks=blocks,
                stride=stride,
                name=f"stage_{stage}",
            )(x, train)
            self.sow("intermediates", f"stage_{stage}_output", x)
        return self.head(x, train)


class SeparableStage(SeparableFields):
    """Blocks of equal width, the first of which may shrink the image: [b, h, w, c] -> [b, h', w', channels]."""

    channels: Size = 64
    blocks: Size = 1
    stride: Size = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        for index in range(self.blocks):
            stride = self.stride if index == 0 else 1
            block = self.repeated(SeparableBlock)(
                **separable_fields(self), channels=self.channels, stride=stride, name=f"block_{index}"
            )
            x = block(x, train)
        return x


class SeparableBlock(SeparableFields):
    """A 3 x 3 convolution of each channel, then one that mixes them: [b, h, w, c] -> [b, h', w', channels]."""

    channels: Size = 64
    stride: Size = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        c = x.shape[-1]
        if self.depthwise:
            spatial = self.unit(c, 3, self.stride, groups=c, kernel_init=he_normal_depthwise, name="spatial")
            branch = spatial(x, train)  # [b, h', w', c]
            branch = self.unit(self.channels, 1, name="pointwise")(branch, train)  # [b, h', w', channels]
        else:
            branch = self.unit(self.channels, 3, self.stride, name="spatial")(x, train)
        if self.squeeze_excitation is not None:
            reduced = max(1, self.channels // self.squeeze_excitation)
            branch = SqueezeExcitation(reduced, dtype=self.dtype, name="squeeze_excitation")(branch)
        return x + branch if self.residual and branch.shape == x.shape else branch


def separable_fields(model: SeparableFields) -> dict[str, Any]:
    """Return the fields that stages and blocks have in common with `model`, by name."""
    return {name: getattr(model, name) for name in annotations(SeparableFields)}


def mobilenet(width_percent: int = 100, **fields: Any) -> MobileNet:
    """Return a MobileNet for ImageNet, with `fields` exchanged.

    Published are 100, 75, 50 and 25 percent of the width (Howard et al., 2017, table 6). Parameters: 4,231,976,
    2,585,560, 1,331,592 and 470,072.
    """
    return MobileNet(**{"classes": 1000, "width_percent": width_percent, **fields})
