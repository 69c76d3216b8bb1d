"""VGG: 3 x 3 convolutions alone."""

from typing import Any, Literal

import flax.linen as nn
import jax

from research.fields import Size
from research.layers.images.channel_normalization import ChannelNorm
from research.layers.images.convolution import pool
from research.layers.images.pooling import Reduction, require_side
from research.models.images.plain.dense_head import DenseHeadFields
from research.models.sizes import variant

VGGSize = Literal[11, 13, 16, 19]

SIZES: dict[VGGSize, dict[str, Any]] = {
    11: {"blocks": (1, 1, 2, 2, 2)},
    13: {"blocks": (2, 2, 2, 2, 2)},
    16: {"blocks": (2, 2, 3, 3, 3)},
    19: {"blocks": (2, 2, 4, 4, 4)},
}

WIDEST = 8  # times the channels of the first stage


class VGG(DenseHeadFields):
    """Stages of 3 x 3 convolutions and a maximum each, dense layers, logits: [b, h, w, c] -> [b, classes], float32.

    Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition" (2015), table 1, models
    A, B, D and E, without its response normalization; with `norm="batchnorm"` torchvision's with batch normalization,
    whose convolutions keep their biases. `vgg(16)` returns a published size. Every stage halves the image; the channels
    double from stage to stage, up to eight times those of the first. With `train=True` it draws from the `dropout`
    stream. Sown into `intermediates`: `stage_0_output` and so on, `pooled`, `dense_0_output` and so on; there is no
    stem.
    """

    blocks: tuple[Size, ...] = (1, 1, 2, 2, 2)
    """Convolutions of each stage."""
    width: Size = 64
    """Channels of the first stage."""
    norm: ChannelNorm = "none"
    """Kind of normalization after the convolutions."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        require_side(x, [Reduction(window=2, stride=2)] * len(self.blocks), "give model.blocks fewer stages")
        for stage, blocks in enumerate(self.blocks):
            channels = self.width * min(2**stage, WIDEST)
            for index in range(blocks):
                x = self.unit(channels, 3, bias=True, name=f"stage_{stage}_unit_{index}")(x, train)
            x = pool(x, "max", 2)  # [b, h / 2, w / 2, channels]
            self.sow("intermediates", f"stage_{stage}_output", x)
        return self.head(x, train)


def vgg(size: VGGSize = 16, **fields: Any) -> VGG:
    """Return a VGG for ImageNet, with `fields` exchanged.

    For small images: `vgg(11, width=16, blocks=(1, 1, 2), grid=1, dense=(64,), norm="batchnorm", classes=10)`, say.
    Parameters without batch normalization: 132,863,336, 133,047,848, 138,357,544 and 143,667,240.
    """
    return VGG(**{"classes": 1000, **variant(SIZES, size), **fields})
