"""Inception v1, the network of GoogLeNet."""

from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from research.fields import Range, Rate, Size
from research.layers.activations import activate
from research.layers.dropout import Dropout
from research.layers.images.local_response import local_response_normalization
from research.layers.images.pooling import adaptive_average_pool, overlapping_pool
from research.models.images.fields import ImageClassifierFields
from research.models.images.inception.fields import InceptionFields, inception_fields, side_by_side
from research.models.stages import widened

Widths = tuple[int, int, int, int, int, int]

# Of each block: 1 x 1; reduction and 3 x 3; reduction and 5 x 5; after the maximum (table 1).
STAGES: tuple[tuple[Widths, ...], ...] = (
    ((64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64)),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    ((256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128)),
)

AUXILIARY_AFTER = (0, 3)  # blocks of the second stage, 4a and 4d in the paper
AUXILIARY_GRID = 4


class InceptionV1(InceptionFields, ImageClassifierFields):
    """A stem, three stages of Inception blocks, the mean over pixels, logits: [b, h, w, c] -> [b, classes], float32.

    Szegedy et al., "Going deeper with convolutions" (2015), table 1. `googlenet()` returns the published network,
    `googlenet_batchnorm()` torchvision's. Auxiliary heads (section 5) are computed in training alone, after the first
    and the fourth block of the second stage, where there are such; they average to 4 x 4 pixels, for images of any
    size, where published ones take 5 x 5 windows every 3 pixels. Their logits are sown for a loss that adds 0.3 times
    each of theirs. With `train=True` it draws from the `dropout` stream. Sown into `intermediates`: `stem_output`,
    `stage_0_output` and so on, `pooled`, and in training `auxiliary_0_logits` and `auxiliary_1_logits` [b, classes].
    """

    blocks: tuple[Annotated[int, Range(1, 2)], Annotated[int, Range(1, 5)], Annotated[int, Range(1, 2)]] = (2, 5, 2)
    """How many blocks of each stage there are, the first ones of those published."""
    stem: Literal["imagenet", "small"] = "imagenet"
    """A 7 x 7 convolution with stride 2 and two maxima, shrinking the image by 8; or a 3 x 3 convolution and none, for
    images of a few pixels."""
    large_kernel: Size = 5
    """Side of the large kernels of a block, 5 as published; 3 in torchvision."""
    last_pool: Size = 3
    """Side of the maximum before the last stage, 3 as published; 2 in torchvision."""
    response_normalization: bool = False
    """Whether the outputs of the stem are divided by those of neighbouring channels, twice, as published."""
    auxiliary: bool = False
    """Whether there are auxiliary heads; task.auxiliary is the weight of their loss."""
    auxiliary_dropout: Rate = 0.7
    """Share of the hidden dense activations of an auxiliary head dropped in training."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = self._stem(x, train)
        self.sow("intermediates", "stem_output", x)
        for stage, blocks in enumerate(self.blocks):
            if stage:
                x = overlapping_pool(x, "max", self.last_pool if stage == 2 else 3, 2, "ceiling")
            for index in range(blocks):
                widths, name = STAGES[stage][index], f"stage_{stage}_block_{index}"
                block = self.repeated(InceptionV1Block)(
                    **inception_fields(self), widths=widths, large_kernel=self.large_kernel, name=name
                )
                x = block(x, train)
                if stage == 1 and index in AUXILIARY_AFTER and self.auxiliary and (train or self.is_initializing()):
                    self._auxiliary(x, train, AUXILIARY_AFTER.index(index))
            self.sow("intermediates", f"stage_{stage}_output", x)
        return self.head(x, train)

    def _stem(self, x: jax.Array, train: bool) -> jax.Array:
        """Return the feature maps that the first block sees, [b, h / 8, w / 8, c] or [b, h, w, c]."""
        imagenet = self.stem == "imagenet"
        x = self.convolve(x, train, "stem_0", 64, *((7, 2) if imagenet else (3, 1)))
        x = overlapping_pool(x, "max", 3, 2, "ceiling") if imagenet else x
        x = local_response_normalization(x) if self.response_normalization else x
        x = self.convolve(x, train, "stem_1", 64, 1)
        x = self.convolve(x, train, "stem_2", 192, 3)
        x = local_response_normalization(x) if self.response_normalization else x
        return overlapping_pool(x, "max", 3, 2, "ceiling") if imagenet else x

    def _auxiliary(self, x: jax.Array, train: bool, index: int) -> None:
        """Sow the logits of an auxiliary head."""
        name = f"auxiliary_{index}"
        head = InceptionV1Auxiliary(
            **inception_fields(self), classes=self.classes, dropout=self.auxiliary_dropout, name=name
        )
        self.sow("intermediates", f"{name}_logits", head(x, train))


class InceptionV1Block(InceptionFields):
    """1 x 1, 3 x 3 and 5 x 5 convolutions and a maximum, side by side: [b, h, w, c] -> [b, h, w, c'] (figure 2b)."""

    widths: Widths = STAGES[0][0]
    large_kernel: Size = 5

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        one, reduce_three, three, reduce_five, five, pooled = self.widths
        return side_by_side(
            self.chain(x, train, "one", (one, 1)),
            self.chain(x, train, "three", (reduce_three, 1), (three, 3)),
            self.chain(x, train, "five", (reduce_five, 1), (five, self.large_kernel)),
            self.chain(overlapping_pool(x, "max", 3, 1, "centred"), train, "pooled", (pooled, 1)),
        )


class InceptionV1Auxiliary(InceptionFields):
    """Means over a grid, a 1 x 1 convolution, a hidden dense layer, logits: [b, h, w, c] -> [b, classes], float32."""

    classes: Size = 10
    dropout: Rate = 0.7

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = self.convolve(adaptive_average_pool(x, AUXILIARY_GRID), train, "unit", 128, 1)
        x = x.reshape(len(x), -1)
        x = nn.Dense(widened(1024, self.width_percent, multiple=1), dtype=self.dtype, name="dense")(x)
        x = Dropout(self.dropout, name="dropout")(activate(self.activation, x), train)
        return nn.Dense(self.classes, dtype=self.dtype, name="logits")(x).astype(jnp.float32)


def googlenet(**fields: Any) -> InceptionV1:
    """Return GoogLeNet as published, with response normalization, for ImageNet, with `fields` exchanged.

    For small images: `googlenet_batchnorm(stem="small", width_percent=25, blocks=(1, 1, 1), classes=10)`, say.
    Parameters: 6,998,552 without auxiliary heads.
    """
    published = {"classes": 1000, "norm": "none", "response_normalization": True, "dropout": 0.4}
    return InceptionV1(**{**published, **fields})


def googlenet_batchnorm(**fields: Any) -> InceptionV1:
    """Return GoogLeNet as torchvision has it, with `fields` exchanged.

    With batch normalization, and with 3 x 3 kernels and a 2 x 2 maximum where 5 x 5 and 3 x 3 were published.
    Parameters: 6,624,904 without auxiliary heads.
    """
    return InceptionV1(**{"classes": 1000, "large_kernel": 3, "last_pool": 2, "dropout": 0.2, **fields})
