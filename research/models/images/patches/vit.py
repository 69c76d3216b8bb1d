"""Vision Transformers: a Transformer over the patches of an image."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.errors import ScopeParamShapeError

from research.errors import UsageError
from research.fields import NonNegative, Size
from research.layers.dropout import Dropout
from research.layers.images.patches import PatchEmbedding
from research.layers.sequences.positions import sinusoidal_2d
from research.models.model import Model
from research.models.sizes import variant
from research.models.transformer.fields import BlockFields, initializers, shared
from research.models.transformer.stack import TransformerStack

ViTSize = Literal["Ti/16", "S/16", "S/32", "B/16", "B/32", "L/16", "L/32", "H/14"]

SIZES: dict[ViTSize, dict[str, int]] = {
    "Ti/16": {"patch": 16, "layers": 12, "width": 192, "heads": 3},
    "S/16": {"patch": 16, "layers": 12, "width": 384, "heads": 6},
    "S/32": {"patch": 32, "layers": 12, "width": 384, "heads": 6},
    "B/16": {"patch": 16, "layers": 12, "width": 768, "heads": 12},
    "B/32": {"patch": 32, "layers": 12, "width": 768, "heads": 12},
    "L/16": {"patch": 16, "layers": 24, "width": 1024, "heads": 16},
    "L/32": {"patch": 32, "layers": 24, "width": 1024, "heads": 16},
    "H/14": {"patch": 14, "layers": 32, "width": 1280, "heads": 16},
}


class ViT(BlockFields, Model):
    """Patches with their positions through an encoder, then logits: [b, h, w, c] -> [b, classes], float32.

    Dosovitskiy et al., "An image is worth 16x16 words" (2021): pre-norm, learned positions, a class token. With
    `positions="sinusoidal_2d"` and `pooling="mean"` it is the plain baseline of Beyer, Zhai and Kolesnikov (2022).
    `vit("S/16")` returns a published size; the defaults are a small one, for images of 28 x 28 or 32 x 32 pixels. With
    `train=True` it draws from the `dropout` stream. Sown into `intermediates`: `stem_output`
    [b, h / patch, w / patch, width], each block's `output` and attention `weights` under the block's name, and
    `pooled`.

    Raises:
        UsageError: the patch does not divide the sides of the images, or there are not as many patches as positions
            were learned for.
    """

    patch: Size = 4
    """Pixels on a side of a patch."""
    positions: Literal["none", "learned", "sinusoidal_2d"] = "learned"
    """How patches know where they stand: a learned vector each, or sines and cosines of row and column."""
    pooling: Literal["class", "mean"] = "class"
    """A learned class token put first, or the mean over the patches."""
    representation: Size | None = None
    """Width of one more dense layer, with tanh, before the logits, as in pre-training; None has none."""
    classes: Size = 10
    """Width of the logits; for regression, how many numbers to estimate."""
    norm_epsilon: NonNegative = 1e-6
    """Added to the variance before its root is taken."""

    @property
    def reads(self) -> tuple[str, ...]:
        return ("image",)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        kernel_init, _, embedding_init = initializers(self)
        embed = PatchEmbedding(self.width, self.patch, self.dtype, kernel_init, name="embedding")
        x = embed(x)  # [b, h / patch, w / patch, width]
        b, h, w, d = x.shape
        if self.positions == "sinusoidal_2d":
            x = x + sinusoidal_2d(h, w, d).astype(x.dtype)[None]
        self.sow("intermediates", "stem_output", x)
        x = x.reshape(b, h * w, d)  # [b, l, width]
        if self.pooling == "class":
            token = self.param("class", nn.initializers.zeros, (d,)).astype(x.dtype)
            x = jnp.concatenate([jnp.broadcast_to(token, (b, 1, d)), x], axis=1)  # [b, 1 + l, width]
        if self.positions == "learned":
            try:
                table = self.param("positions", embedding_init, x.shape[1:])  # [l, width]
            except ScopeParamShapeError as error:
                raise UsageError(
                    f"positions were learned for another number of patches than {h} x {w}: give images of the same "
                    'size, or choose positions="sinusoidal_2d"'
                ) from error
            x = x + table.astype(x.dtype)[None]
        x = Dropout(self.dropout, name="dropout")(x, train)
        x, _ = TransformerStack(**shared(self), positions="none", name="encoder")(x, train=train)
        pooled = x[:, 0] if self.pooling == "class" else x.mean(axis=1)  # [b, width]
        if self.representation is not None:
            pooled = jnp.tanh(nn.Dense(self.representation, dtype=self.dtype, name="representation")(pooled))
        self.sow("intermediates", "pooled", pooled)
        return nn.Dense(self.classes, dtype=self.dtype, name="logits")(pooled).astype(jnp.float32)


def vit(size: ViTSize = "S/16", **fields: Any) -> ViT:
    """Return a vision Transformer for ImageNet, with `fields` exchanged: `vit("S/16", classes=10, patch=4)`, say.

    Sources: B, L and H are of Dosovitskiy et al. (2021, table 1), Ti and S of Touvron et al., "Training data-efficient
    image transformers" (2021, table 1), S/32 of Steiner et al., "How to train your ViT?" (2022). Parameters for images
    of 224 x 224: 5,717,416, 22,050,664, 22,878,952, 86,567,656, 88,224,232, 304,326,632, 306,535,400 and 632,045,800.
    """
    return ViT(**{"classes": 1000, **variant(SIZES, size), **fields})
