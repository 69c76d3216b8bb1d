"""MobileNet v3: inverted residuals that a search has chosen, with squeeze and excitation."""

from typing import Any, Literal

import flax.linen as nn
import jax

from research.fields import Fraction, NonNegative, Rate, Size
from research.layers.activations import Activation, activate
from research.layers.stochastic_depth import growing
from research.models.images.fields import ImageClassifierFields, Stem
from research.models.images.mobile.inverted_residual import (
    InvertedResidual,
    InvertedResidualFields,
    inverted_residual_fields,
)
from research.models.sizes import variant
from research.models.stages import rows, widened

MobileNetV3Size = Literal["small", "large"]

SIZES: dict[MobileNetV3Size, dict[str, Any]] = {
    "small": {
        "kernels": (3, 3, 3, 5, 5, 5, 5, 5, 5, 5, 5),
        "expanded": (16, 72, 88, 96, 240, 240, 120, 144, 288, 576, 576),
        "channels": (16, 24, 24, 40, 40, 40, 48, 48, 96, 96, 96),
        "squeezed": (True, False, False, True, True, True, True, True, True, True, True),
        "strides": (2, 2, 1, 2, 1, 1, 1, 1, 2, 1, 1),
        "early": 3,
        "hidden": 1024,
    },
    "large": {
        "kernels": (3, 3, 3, 5, 5, 5, 3, 3, 3, 3, 3, 3, 5, 5, 5),
        "expanded": (16, 64, 72, 72, 120, 120, 240, 200, 184, 184, 480, 672, 672, 960, 960),
        "channels": (16, 24, 24, 40, 40, 40, 80, 80, 80, 80, 112, 112, 160, 160, 160),
        "squeezed": (False,) * 3 + (True,) * 3 + (False,) * 4 + (True,) * 5,
        "strides": (1, 2, 1, 2, 1, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1),
        "early": 6,
        "hidden": 1280,
    },
}


class MobileNetV3(InvertedResidualFields, ImageClassifierFields):
    """A stem, inverted residual blocks, a 1 x 1 convolution, the mean over pixels, a dense layer, then logits.

    [b, h, w, c] -> [b, classes], float32. Howard et al., "Searching for MobileNetV3" (2019), table 2, the small one,
    unless the table is exchanged; `mobilenet_v3("large")` returns that of table 1. A stage ends where the next block
    shrinks the image. With `train=True` it draws from the `dropout` stream. Sown into `intermediates`: `stem_output`,
    `stage_0_output` and so on, and `pooled`.
    """

    norm_momentum: Fraction = 0.99
    """Share of the old running average that a step keeps; batchnorm only."""
    norm_epsilon: NonNegative = 1e-3
    """Added to the variance before its root is taken."""
    activation: Activation = "hardswish"
    """After the convolutions, but for the early blocks and the last convolution of a block."""
    early_activation: Activation = "relu"
    """In the early blocks, where images are large and hardswish costs most."""
    early: Size = 3
    """How many blocks have the other activation."""
    squeeze_gate: Activation = "hardsigmoid"
    """Makes the gates of squeeze and excitation."""
    squeeze_excitation: Size | None = 4
    """Factor by which squeeze and excitation reduces the channels inside a block; None has none in any block."""
    width_percent: Size = 100
    """Channels of every layer, in percent of those of the table: the width multiplier."""
    kernels: tuple[Size, ...] = SIZES["small"]["kernels"]
    """Of each block."""
    expanded: tuple[Size, ...] = SIZES["small"]["expanded"]
    """Channels inside each block."""
    channels: tuple[Size, ...] = SIZES["small"]["channels"]
    """Channels that leave each block."""
    squeezed: tuple[bool, ...] = SIZES["small"]["squeezed"]
    """Which blocks have squeeze and excitation."""
    strides: tuple[Size, ...] = SIZES["small"]["strides"]
    """Of each block."""
    hidden: Size = 1024
    """Units of the dense layer before the logits."""
    stem: Stem = "imagenet"
    """A 3 x 3 convolution of stride 2; or of stride 1, for images of a few pixels."""
    stochastic_depth: Rate = 0.0
    """Share of the last block's branch left out in training; earlier blocks have less, linearly from 0."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        stem = self.unit(
            widened(16, self.width_percent),
            3,
            2 if self.stem == "imagenet" else 1,
            padding=self.padding,
            name="stem",
        )
        x = stem(x, train)
        self.sow("intermediates", "stem_output", x)
        rates = growing(self.stochastic_depth, len(self.channels))
        blocks = rows(
            kernels=self.kernels,
            expanded=self.expanded,
            channels=self.channels,
            squeezed=self.squeezed,
            strides=self.strides,
        )
        stage = 0
        for index, (kernel, expanded, channels, squeezed, stride) in enumerate(blocks):
            if index and stride > 1:
                self.sow("intermediates", f"stage_{stage}_output", x)
                stage += 1
            wide, reduction = widened(expanded, self.width_percent), self.squeeze_excitation
            fields = inverted_residual_fields(self)
            x = self.repeated(InvertedResidual)(
                **(fields | {"activation": self.early_activation} if index < self.early else fields),
                channels=widened(channels, self.width_percent),
                expanded=wide,
                kernel=kernel,
                stride=stride,
                squeezed=widened(wide // reduction, 100) if squeezed and reduction is not None else None,
                stochastic_depth=rates[index],
                name=f"block_{index}",
            )(x, train)
        self.sow("intermediates", f"stage_{stage}_output", x)
        x = self.unit(6 * x.shape[-1], 1, name="last")(x, train)
        hidden = nn.Dense(widened(self.hidden, self.width_percent), dtype=self.dtype, name="hidden")(self.pooled(x))
        return self.classify(activate(self.activation, hidden), train)


def mobilenet_v3(size: MobileNetV3Size = "small", **fields: Any) -> MobileNetV3:
    """Return a MobileNet v3 for ImageNet, with `fields` exchanged.

    Source: Howard et al. (2019, tables 1 and 2); with a bias in squeeze and excitation, as in torchvision. Parameters:
    2,542,856 and 5,483,032.
    """
    return MobileNetV3(**{"classes": 1000, "dropout": 0.2, **variant(SIZES, size), **fields})
