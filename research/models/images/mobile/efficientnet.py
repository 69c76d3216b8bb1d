"""EfficientNet, one network scaled in width and depth at once, and its form for small processors, EfficientNet-Lite."""

from typing import Any, Literal

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
from research.models.sizes import variant
from research.models.stages import deepened, rows, widened

EfficientNetSize = Literal["b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7"]
EfficientNetLiteSize = Literal[0, 1, 2, 3, 4]

SIZES: dict[EfficientNetSize, dict[str, Any]] = {
    "b0": {"width_percent": 100, "depth_percent": 100, "dropout": 0.2},
    "b1": {"width_percent": 100, "depth_percent": 110, "dropout": 0.2},
    "b2": {"width_percent": 110, "depth_percent": 120, "dropout": 0.3},
    "b3": {"width_percent": 120, "depth_percent": 140, "dropout": 0.3},
    "b4": {"width_percent": 140, "depth_percent": 180, "dropout": 0.4},
    "b5": {"width_percent": 160, "depth_percent": 220, "dropout": 0.4, "norm_epsilon": 1e-3, "norm_momentum": 0.99},
    "b6": {"width_percent": 180, "depth_percent": 260, "dropout": 0.5, "norm_epsilon": 1e-3, "norm_momentum": 0.99},
    "b7": {"width_percent": 200, "depth_percent": 310, "dropout": 0.5, "norm_epsilon": 1e-3, "norm_momentum": 0.99},
}

LITE_SIZES: dict[EfficientNetLiteSize, dict[str, Any]] = {
    0: {"width_percent": 100, "depth_percent": 100, "dropout": 0.2},
    1: {"width_percent": 100, "depth_percent": 110, "dropout": 0.2},
    2: {"width_percent": 110, "depth_percent": 120, "dropout": 0.3},
    3: {"width_percent": 120, "depth_percent": 140, "dropout": 0.3},
    4: {"width_percent": 140, "depth_percent": 180, "dropout": 0.3},
}


class EfficientNet(InvertedResidualFields, ImageClassifierFields):
    """A stem, stages of inverted residual blocks, a 1 x 1 convolution, the mean over pixels, then logits.

    [b, h, w, c] -> [b, classes], float32. Tan and Le, "EfficientNet: Rethinking model scaling for convolutional neural
    networks" (2019), table 1. With `train=True` it draws from the `dropout` stream. Sown into `intermediates`:
    `stem_output`, `stage_0_output` and so on, and `pooled`.
    """

    activation: Activation = "silu"
    """After the convolutions, but for the last one of a block."""
    squeeze_activation: Activation = "silu"
    """Inside squeeze and excitation."""
    squeeze_excitation: Size | None = 4
    """Factor by which squeeze and excitation reduces the channels that enter a block; None has none."""
    width_percent: Size = 100
    """Channels of every layer, in percent of those of the table."""
    depth_percent: Size = 100
    """Blocks of every stage, in percent of those of the table, rounded up."""
    fixed_ends: bool = False
    """Whether stem, last convolution, and the blocks of the first and last stage are as in the table at every scale."""
    kernels: tuple[Size, ...] = (3, 3, 5, 3, 5, 5, 3)
    """Of the blocks of each stage."""
    expansions: tuple[Size, ...] = (1, 6, 6, 6, 6, 6, 6)
    """Factor of each stage by which a block widens what enters it."""
    channels: tuple[Size, ...] = (16, 24, 40, 80, 112, 192, 320)
    """Of the blocks of each stage, at their ends."""
    blocks: tuple[Size, ...] = (1, 2, 2, 3, 3, 4, 1)
    """Blocks of each stage."""
    strides: tuple[Size, ...] = (1, 2, 2, 2, 1, 2, 1)
    """Of the first block of each stage."""
    features: Size = 1280
    """Channels of the last convolution."""
    stem: Stem = "imagenet"
    """A 3 x 3 convolution of stride 2; or of stride 1, for images of a few pixels."""
    stochastic_depth: Rate = 0.0
    """Share of a branch left out in training after all blocks; each block has less, linearly from 0 at the first."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        ends = 100 if self.fixed_ends else self.width_percent
        stem = self.unit(widened(32, ends), 3, 2 if self.stem == "imagenet" else 1, padding=self.padding, name="stem")
        x = stem(x, train)
        self.sow("intermediates", "stem_output", x)
        depths = self.depths()
        stages = rows(
            kernels=self.kernels,
            expansions=self.expansions,
            channels=self.channels,
            blocks=depths,
            strides=self.strides,
        )
        rates = growing(self.stochastic_depth, sum(depths) + 1)
        for stage, (kernel, expansion, channels, blocks, stride) in enumerate(stages):
            x = InvertedResidualStage(
                **inverted_residual_fields(self),
                channels=widened(channels, self.width_percent),
                expansion=expansion,
                kernel=kernel,
                stride=stride,
                squeeze_excitation=self.squeeze_excitation,
                stochastic_depth=rates[sum(depths[:stage]) :][:blocks],
                name=f"stage_{stage}",
            )(x, train)
            self.sow("intermediates", f"stage_{stage}_output", x)
        x = self.unit(widened(self.features, ends), 1, name="last")(x, train)
        return self.head(x, train)

    def depths(self) -> tuple[int, ...]:
        """Return how many blocks each stage has after scaling."""
        scaled = tuple(deepened(blocks, self.depth_percent) for blocks in self.blocks)
        return (self.blocks[0], *scaled[1:-1], self.blocks[-1]) if self.fixed_ends else scaled


def efficientnet(size: EfficientNetSize = "b0", **fields: Any) -> EfficientNet:
    """Return an EfficientNet for ImageNet, with `fields` exchanged.

    Published for images of 224, 240, 260, 300, 380, 456, 528 and 600 pixels (Tan and Le, 2019). Batch normalization has
    the epsilon and momentum of torchvision. Parameters: 5,288,548, 7,794,184, 9,109,994, 12,233,232, 19,341,616,
    30,389,784, 43,040,704 and 66,347,960.
    """
    return EfficientNet(**{"classes": 1000, "stochastic_depth": 0.2, **variant(SIZES, size), **fields})


def efficientnet_lite(size: EfficientNetLiteSize = 0, **fields: Any) -> EfficientNet:
    """Return an EfficientNet-Lite for ImageNet, with `fields` exchanged.

    No squeeze and excitation, relu6, and ends that do not scale, so that it can be quantized; "same" padding. Published
    for images of 224, 240, 260, 280 and 300 pixels, with code only (Liu, "Higher accuracy on vision models with
    EfficientNet-Lite", 2020). Parameters: 4,652,008, 5,416,680, 6,092,072, 8,197,096 and 13,006,568.
    """
    lite: dict[str, Any] = {
        "squeeze_excitation": None,
        "activation": "relu6",
        "fixed_ends": True,
        "padding": "same",
        "norm_epsilon": 1e-3,
        "norm_momentum": 0.99,
    }
    return efficientnet(**{**lite, **variant(LITE_SIZES, size), **fields})
