"""Inception v3: large kernels as chains of small ones."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from research.fields import Size
from research.layers.images.pooling import Reduction, overlapping_pool, require_side
from research.models.images.fields import ImageClassifierFields
from research.models.images.inception.fields import InceptionFields, inception_fields, side_by_side

SHRINK = Reduction(window=3, stride=2)


class InceptionV3(InceptionFields, ImageClassifierFields):
    """A stem, three stages of Inception blocks, the mean over pixels, logits: [b, h, w, c] -> [b, classes], float32.

    Szegedy, Vanhoucke, Ioffe, Shlens and Wojna, "Rethinking the Inception architecture for computer vision" (2016),
    with the details of the authors' code, which torchvision has too; `inception_v3()` returns the published size. The
    auxiliary head (section 4) is computed in training alone; its logits are sown for a loss that adds a share of
    theirs, 0.4 in the authors' code. With `train=True` it draws from the `dropout` stream. Sown into `intermediates`:
    `stem_output`, `stage_0_output` and so on, `pooled`, and in training `auxiliary_logits` [b, classes].
    """

    blocks: tuple[Size, Size, Size] = (3, 4, 2)
    """Blocks of each stage, besides those that shrink the image before the second and the third."""
    stem: Literal["imagenet", "small"] = "imagenet"
    """Five convolutions and two maxima, shrinking the image by 8; or three 3 x 3 convolutions, for images of a few
    pixels."""
    auxiliary: bool = False
    """Whether there is an auxiliary head, which needs at least 17 x 17 pixels after the second stage: images of
    299 x 299. task.auxiliary is the weight of its loss."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        auxiliary = self.auxiliary and (train or self.is_initializing())
        self._require_side(x, auxiliary)
        fields = inception_fields(self)
        x = self._stem(x, train)
        self.sow("intermediates", "stem_output", x)
        first, second, third = self.blocks
        for index in range(first):
            x = self.repeated(InceptionA)(**fields, pooled=64 if index else 32, name=f"stage_0_block_{index}")(x, train)
        self.sow("intermediates", "stage_0_output", x)
        x = InceptionB(**fields, name="reduction_0")(x, train)  # [b, h / 16, w / 16, 768]
        for index in range(second):
            width = {0: 128, second - 1: 192}.get(index, 160)
            x = self.repeated(InceptionC)(**fields, width=width, name=f"stage_1_block_{index}")(x, train)
        self.sow("intermediates", "stage_1_output", x)
        if auxiliary:
            head = InceptionV3Auxiliary(**fields, classes=self.classes, name="auxiliary")
            self.sow("intermediates", "auxiliary_logits", head(x, train))
        x = InceptionD(**fields, name="reduction_1")(x, train)  # [b, h / 32, w / 32, 1280]
        for index in range(third):
            x = self.repeated(InceptionE)(**fields, name=f"stage_2_block_{index}")(x, train)
        self.sow("intermediates", "stage_2_output", x)
        return self.head(x, train)

    def _require_side(self, x: jax.Array, auxiliary: bool) -> None:
        """Raise `UsageError` where the images are too small."""
        imagenet = self.stem == "imagenet"
        stem = (SHRINK, Reduction(3, 1), SHRINK, Reduction(3, 1), SHRINK) if imagenet else ()
        require_side(x, (*stem, SHRINK, SHRINK), 'set model.stem to "small"' if imagenet else "use larger images")
        if auxiliary:
            require_side(x, (*stem, SHRINK, Reduction(5, 3), Reduction(5, 1)), "set model.auxiliary to False")

    def _stem(self, x: jax.Array, train: bool) -> jax.Array:
        """Return the feature maps that the first block sees, [b, h / 8, w / 8, c] or [b, h, w, c]."""
        if self.stem == "small":
            return self.chain(x, train, "stem", (32, 3), (64, 3), (192, 3))
        x = self.chain(x, train, "stem", (32, 3, 2, "valid"), (32, 3, 1, "valid"), (64, 3))
        x = overlapping_pool(x, "max", 3, 2)
        x = self.convolve(x, train, "stem_3", 80, 1)
        x = self.convolve(x, train, "stem_4", 192, 3, 1, "valid")
        return overlapping_pool(x, "max", 3, 2)


class InceptionA(InceptionFields):
    """1 x 1, 5 x 5, two 3 x 3 convolutions and a mean, side by side: [b, h, w, c] -> [b, h, w, c'] (figure 5)."""

    pooled: Size = 64

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return side_by_side(
            self.chain(x, train, "one", (64, 1)),
            self.chain(x, train, "five", (48, 1), (64, 5)),
            self.chain(x, train, "three", (64, 1), (96, 3), (96, 3)),
            self.chain(overlapping_pool(x, "average", 3, 1, "centred"), train, "pooled", (self.pooled, 1)),
        )


class InceptionB(InceptionFields):
    """Convolutions and a maximum that halve the image: [b, h, w, c] -> [b, h / 2, w / 2, c'] (figure 10)."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return side_by_side(
            self.chain(x, train, "three", (384, 3, 2, "valid")),
            self.chain(x, train, "double", (64, 1), (96, 3), (96, 3, 2, "valid")),
            overlapping_pool(x, "max", 3, 2),
        )


class InceptionC(InceptionFields):
    """1 x 1, once and twice 7 x 7 as 1 x 7 and 7 x 1, and a mean: [b, h, w, c] -> [b, h, w, c'] (figure 6)."""

    width: Size = 128

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        wide, high, width = (1, 7), (7, 1), self.width
        double = ((width, 1), (width, high), (width, wide), (width, high), (192, wide))
        return side_by_side(
            self.chain(x, train, "one", (192, 1)),
            self.chain(x, train, "seven", (width, 1), (width, wide), (192, high)),
            self.chain(x, train, "double", *double),
            self.chain(overlapping_pool(x, "average", 3, 1, "centred"), train, "pooled", (192, 1)),
        )


class InceptionD(InceptionFields):
    """Convolutions and a maximum that halve the image: [b, h, w, c] -> [b, h / 2, w / 2, c + 512]."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return side_by_side(
            self.chain(x, train, "three", (192, 1), (320, 3, 2, "valid")),
            self.chain(x, train, "seven", (192, 1), (192, (1, 7)), (192, (7, 1)), (192, 3, 2, "valid")),
            overlapping_pool(x, "max", 3, 2),
        )


class InceptionE(InceptionFields):
    """3 x 3 convolutions as 1 x 3 and 3 x 1 side by side: [b, h, w, c] -> [b, h, w, 2048] (figure 7)."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        three = self.chain(x, train, "three", (384, 1))
        double = self.chain(x, train, "double", (448, 1), (384, 3))
        return side_by_side(
            self.chain(x, train, "one", (320, 1)),
            self.convolve(three, train, "three_wide", 384, (1, 3)),
            self.convolve(three, train, "three_high", 384, (3, 1)),
            self.convolve(double, train, "double_wide", 384, (1, 3)),
            self.convolve(double, train, "double_high", 384, (3, 1)),
            self.chain(overlapping_pool(x, "average", 3, 1, "centred"), train, "pooled", (192, 1)),
        )


class InceptionV3Auxiliary(InceptionFields):
    """Means over windows, two convolutions, the mean over pixels, logits: [b, h, w, c] -> [b, classes], float32."""

    classes: Size = 10

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = overlapping_pool(x, "average", 5, 3)  # [b, 5, 5, c] of images of 299 x 299
        x = self.chain(x, train, "unit", (128, 1), (768, 5, 1, "valid"))
        return nn.Dense(self.classes, dtype=self.dtype, name="logits")(x.mean(axis=(1, 2))).astype(jnp.float32)


def inception_v3(**fields: Any) -> InceptionV3:
    """Return Inception v3 for ImageNet, with the dropout that torchvision has, and with `fields` exchanged.

    For small images: `inception_v3(stem="small", width_percent=25, blocks=(1, 1, 1), classes=10)`, say. Parameters:
    23,834,568, and 27,161,264 with `auxiliary`.
    """
    return InceptionV3(**{"classes": 1000, "dropout": 0.5, **fields})
