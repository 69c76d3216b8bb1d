"""AlexNet, in one tower and in two."""

from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax

from research.fields import Size
from research.layers.images.channel_normalization import ChannelNorm
from research.layers.images.local_response import local_response_normalization
from research.layers.images.pooling import Reduction, overlapping_pool, require_side
from research.layers.partition import Rules
from research.models.images.plain.dense_head import DenseHeadFields
from research.models.sizes import variant

AlexNetYear = Literal[2012, 2014]

YEARS: dict[AlexNetYear, dict[str, Any]] = {
    2012: {"channels": (96, 256, 384, 384, 256), "towers": 2, "response_normalization": True},
    2014: {"channels": (64, 192, 384, 256, 256)},
}

POOL = Reduction(window=3, stride=2)


class AlexNet(DenseHeadFields):
    """Five convolutions and three maxima, dense layers, logits: [b, h, w, c] -> [b, classes], float32.

    Krizhevsky, Sutskever and Hinton, "ImageNet classification with deep convolutional neural networks" (2012), and its
    one-tower form, Krizhevsky, "One weird trick for parallelizing convolutional neural networks" (2014). `alexnet()`
    returns a published size. Published weights begin with deviation 0.01 and some biases with 1; here biases begin with
    0, and weights as He et al. (2015) have them. Dropout is as published, after each hidden dense layer; torchvision
    drops what enters them. With `train=True` it draws from the `dropout` stream. Sown into `intermediates`:
    `stem_output`, `stage_0_output`, `stage_1_output`, `pooled`, `dense_0_output` and so on.
    """

    partition: ClassVar[Rules] = ()  # because of the towers, which are grouped convolutions

    channels: tuple[Size, Size, Size, Size, Size] = (64, 192, 384, 256, 256)
    """Of each convolution."""
    stem: Literal["imagenet", "small"] = "imagenet"
    """An 11 x 11 convolution with stride 4; or a 3 x 3 one with stride 1, for images of a few pixels."""
    towers: Size = 1
    """Into how many groups the channels of the second, fourth and fifth convolution are split, which do not see each
    other: 2 as published in 2012, when a tower was a processor."""
    response_normalization: bool = False
    """Whether the outputs of the first two convolutions are divided by those of neighbouring channels, as published in
    2012."""
    norm: ChannelNorm = "none"
    """Kind of normalization after the convolutions."""
    grid: Size = 6
    """Side that the last feature maps are averaged to before the dense layers, whatever the image's."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        imagenet = self.stem == "imagenet"
        stem = Reduction(11, 4, added=4) if imagenet else Reduction(3, 1, added=2)
        remedy = 'set model.stem to "small"' if imagenet else "use larger images"
        require_side(x, (stem, POOL, POOL, POOL), remedy)
        channels = self.channels
        x = self.unit(channels[0], stem.window, stem.stride, padding=stem.added // 2, name="stem")(x, train)
        x = self._normalized_and_pooled(x)  # [b, h / 8, w / 8, c] or [b, h / 2, w / 2, c]
        self.sow("intermediates", "stem_output", x)
        x = self.unit(channels[1], 5, groups=self.towers, name="unit_0")(x, train)
        x = self._normalized_and_pooled(x)
        self.sow("intermediates", "stage_0_output", x)
        for index, groups in ((1, 1), (2, self.towers), (3, self.towers)):
            x = self.unit(channels[index + 1], 3, groups=groups, name=f"unit_{index}")(x, train)
        x = overlapping_pool(x, "max", *POOL[:2])
        self.sow("intermediates", "stage_1_output", x)
        return self.head(x, train)

    def _normalized_and_pooled(self, x: jax.Array) -> jax.Array:
        """Divide by neighbouring channels where that is asked for, and halve the image."""
        if self.response_normalization:
            x = local_response_normalization(x)
        return overlapping_pool(x, "max", *POOL[:2])


def alexnet(year: AlexNetYear = 2014, **fields: Any) -> AlexNet:
    """Return an AlexNet for ImageNet, with `fields` exchanged.

    That of 2014 is torchvision's, in one tower and without response normalization. For small images:
    `alexnet(stem="small", grid=2, dense=(256,), classes=10)`, say. Parameters: 60,965,224 and 61,100,840.
    """
    return AlexNet(**{"classes": 1000, **variant(YEARS, year), **fields})
