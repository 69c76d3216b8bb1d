"""MobileNet v2: inverted residuals with linear bottlenecks."""

from typing import Any

import flax.linen as nn
import jax

from research.fields import Rate, Size
from research.layers.activations import Activation
from research.layers.stochastic_depth import growing
from research.models.images.fields import ImageClassifierFields, Stem
from research.models.images.mobile.inverted_residual import (
    InvertedResidualFields,
    InvertedResidualStage,
    inverted_residual_fields,
)
from research.models.stages import rows, widened


class MobileNetV2(InvertedResidualFields, ImageClassifierFields):
    """A stem, stages of inverted residual blocks, a 1 x 1 convolution, the mean over pixels, then logits.

    [b, h, w, c] -> [b, classes], float32. Sandler et al., "MobileNetV2: Inverted residuals and linear bottlenecks"
    (2018), table 2. With `train=True` it draws from the `dropout` stream. Sown into `intermediates`: `stem_output`,
    `stage_0_output` and so on, and `pooled`.
    """

    activation: Activation = "relu6"
    """After the convolutions, but for the last one of a block."""
    width_percent: Size = 100
    """Channels of every layer, in percent of those of the table: the width multiplier."""
    expansions: tuple[Size, ...] = (1, 6, 6, 6, 6, 6, 6)
    """Factor of each stage by which a block widens what enters it."""
    channels: tuple[Size, ...] = (16, 24, 32, 64, 96, 160, 320)
    """Of the blocks of each stage, at their ends."""
    blocks: tuple[Size, ...] = (1, 2, 3, 4, 3, 3, 1)
    """Blocks of each stage."""
    strides: tuple[Size, ...] = (1, 2, 2, 2, 1, 2, 1)
    """Of the first block of each stage."""
    features: Size = 1280
    """Channels of the last convolution, which no multiplier below 100 percent makes fewer."""
    squeeze_excitation: Size | None = None
    """Factor by which squeeze and excitation reduces the channels that enter a block; None, as published, has none."""
    stem: Stem = "imagenet"
    """A 3 x 3 convolution of stride 2; or of stride 1, for images of a few pixels."""
    stochastic_depth: Rate = 0.0
    """Share of the last block's branch left out in training; earlier blocks have less, linearly from 0."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        stem = self.unit(
            widened(32, self.width_percent),
            3,
            2 if self.stem == "imagenet" else 1,
            padding=self.padding,
            name="stem",
        )
        x = stem(x, train)
        self.sow("intermediates", "stem_output", x)
        stages = rows(expansions=self.expansions, channels=self.channels, blocks=self.blocks, strides=self.strides)
        rates = growing(self.stochastic_depth, sum(self.blocks))
        for stage, (expansion, channels, blocks, stride) in enumerate(stages):
            x = InvertedResidualStage(
                **inverted_residual_fields(self),
                channels=widened(channels, self.width_percent),
                expansion=expansion,
                stride=stride,
                squeeze_excitation=self.squeeze_excitation,
                stochastic_depth=rates[sum(self.blocks[:stage]) :][:blocks],
                name=f"stage_{stage}",
            )(x, train)
            self.sow("intermediates", f"stage_{stage}_output", x)
        x = self.unit(widened(self.features, max(100, self.width_percent)), 1, name="last")(x, train)
        return self.head(x, train)


def mobilenet_v2(width_percent: int = 100, **fields: Any) -> MobileNetV2:
    """Return a MobileNet v2 for ImageNet, with `fields` exchanged.

    Published are 100, 75, 50, 35 and 140 percent of the width (Sandler et al., 2018, section 6.1). Parameters at 100:
    3,504,872.
    """
    return MobileNetV2(**{"classes": 1000, "width_percent": width_percent, "dropout": 0.2, **fields})
