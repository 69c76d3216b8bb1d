"""Images as a grid of patches."""

from typing import Literal

import flax.linen as nn
import jax
from jax.nn.initializers import Initializer

from research.errors import UsageError
from research.fields import Size


class PatchEmbedding(nn.Module):
    """A vector for each square of `patch` x `patch` pixels: [b, h, w, c] -> [b, h / patch, w / patch, width].

    A dense layer over the pixels of a patch, written as a convolution. Source: Dosovitskiy et al., "An image is worth
    16x16 words" (2021, eq. 1).

    Raises:
        UsageError: the patch does not divide the sides of the images.
    """

    width: Size
    patch: Size = 16
    dtype: Literal["float32", "bfloat16"] = "float32"
    kernel_init: Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        b, h, w, c = x.shape
        if h % self.patch or w % self.patch:
            raise UsageError(
                f"images of {h} x {w} cannot be cut into patches of {self.patch} x {self.patch}: "
                "choose a patch that divides both sides, or another size of images"
            )
        square = (self.patch, self.patch)
        project = nn.Conv(
            self.width, square, square, "VALID", dtype=self.dtype, kernel_init=self.kernel_init, name="projection"
        )
        return project(x)  # [b, h / patch, w / patch, width]
