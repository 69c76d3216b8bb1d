"""MLP-Mixer: dense layers over patches and over features in turn."""

from typing import Any, ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.errors import ScopeParamShapeError

from research.errors import UsageError
from research.fields import NonNegative, Rate, Size, annotations
from research.layers.dropout import Dropout
from research.layers.images.patches import PatchEmbedding
from research.layers.normalization import Norm, Normalization
from research.layers.partition import Rules
from research.layers.remat import Remat, remat
from research.layers.sequences.feed_forward import FeedForward, FeedForwardKind
from research.layers.stochastic_depth import StochasticDepth, growing
from research.models.model import Model
from research.models.sizes import variant

MixerSize = Literal["S/32", "S/16", "B/32", "B/16", "L/32", "L/16", "H/14"]

SIZES: dict[MixerSize, dict[str, int]] = {
    "S/32": {"patch": 32, "layers": 8, "width": 512},
    "S/16": {"patch": 16, "layers": 8, "width": 512},
    "B/32": {"patch": 32, "layers": 12, "width": 768},
    "B/16": {"patch": 16, "layers": 12, "width": 768},
    "L/32": {"patch": 32, "layers": 24, "width": 1024},
    "L/16": {"patch": 16, "layers": 24, "width": 1024},
    "H/14": {"patch": 14, "layers": 32, "width": 1280},
}


class MixerFields(nn.Module):
    """What the blocks of an MLP-Mixer share with it."""

    width: Size = 128
    """Features of a patch between the blocks."""
    token_width: Size | None = None
    """Hidden width of the layers that mix patches; None for half the width."""
    feed_forward_width: Size | None = None
    """Hidden width of the layers that mix features; None for four times the width."""
    feed_forward: FeedForwardKind = "gelu"
    """Nonlinearity of both; geglu, geglu_tanh and swiglu are gated by a third matrix."""
    token_mixing: bool = True
    """Whether patches are mixed; without it each stands alone until they are pooled."""
    residual: bool = True
    """Whether the parts of a block are added to what enters them, rather than replace it."""
    norm: Norm = "layernorm"
    """Kind of normalization, before each part of a block and at the end."""
    norm_epsilon: NonNegative = 1e-6
    """Added to the variance before its root is taken."""
    dropout: Rate = 0.0
    """Share dropped of what each part of a block gives, in training."""
    feed_forward_dropout: Rate = 0.0
    """Share of the hidden activations of both parts dropped in training."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the computation; parameters and normalization statistics are float32."""


class Mixer(MixerFields, Model):
    """Patches through blocks that mix them, the mean over patches, then logits: [b, h, w, c] -> [b, classes], float32.

    Tolstikhin et al., "MLP-Mixer: an all-MLP architecture for vision" (2021, table 1). `mixer("S/16")` returns a
    published size; the defaults are a small one, for images of 28 x 28 or 32 x 32 pixels. With `train=True` it draws
    from the `dropout` stream. Sown into `intermediates`: `stem_output` [b, h / patch, w / patch, width], each block's
    `output` [b, l, width] under the block's name, and `pooled`.

    Raises:
        UsageError: the patch does not divide the sides of the images, or there are not as many patches as the
            parameters are for.
    """

    partition: ClassVar[Rules] = (
        (r"\.(hidden|linear)\.(kernel|bias)$", ("tensor",)),
        (r"\.output\.kernel$", ("tensor", None)),
    )

    patch: Size = 4
    """Pixels on a side of a patch."""
    layers: Size = 4
    """Blocks."""
    remat: Remat = "none"
    """What of each block the backward pass computes anew, to save memory: none, full for all of it, or dots for all but
    products with kernels."""
    stochastic_depth: Rate = 0.0
    """Share of the last block's branches left out in training, example by example; earlier blocks have less, linearly
    from 0."""
    classes: Size = 10
    """Width of the logits; for regression, how many numbers to estimate."""

    @property
    def reads(self) -> tuple[str, ...]:
        return ("image",)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = PatchEmbedding(self.width, self.patch, self.dtype, name="embedding")(x)  # [b, h / patch, w / patch, width]
        self.sow("intermediates", "stem_output", x)
        b, h, w, d = x.shape
        x = x.reshape(b, h * w, d)  # [b, l, width]
        fields = {name: getattr(self, name) for name in annotations(MixerFields)}
        block = remat(MixerBlock, self.remat, static_argnums=(2,))
        try:
            for layer, rate in enumerate(growing(self.stochastic_depth, self.layers)):
                x = block(**fields, stochastic_depth=rate, name=f"layer_{layer}")(x, train)
        except ScopeParamShapeError as error:
            raise UsageError(f"the parameters are for another number of patches than {h} x {w}") from error
        pooled = Normalization(self.norm, self.norm_epsilon, self.dtype, name="norm")(x).mean(axis=1)  # [b, width]
        self.sow("intermediates", "pooled", pooled)
        return nn.Dense(self.classes, dtype=self.dtype, name="logits")(pooled).astype(jnp.float32)


class MixerBlock(MixerFields):
    """Mix patches, then features: [b, l, d] -> [b, l, d] (Tolstikhin et al., 2021, eq. 1)."""

    stochastic_depth: Rate = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        b, l, d = x.shape
        if self.token_mixing:
            y = self._norm("token")(x).swapaxes(1, 2)  # [b, d, l]
            y = self._mix("token", self.token_width or max(1, d // 2))(y, train).swapaxes(1, 2)  # [b, l, d]
            x = self._leave("token", x, y, train)
        y = self._mix("feed_forward", self.feed_forward_width or 4 * d)(self._norm("feed_forward")(x), train)
        x = self._leave("feed_forward", x, y, train)
        self.sow("intermediates", "output", x)
        return x

    def _norm(self, part: str) -> Normalization:
        """Return the normalization before a part of the block."""
        return Normalization(self.norm, self.norm_epsilon, self.dtype, name=f"{part}_norm")

    def _mix(self, part: str, width: int) -> FeedForward:
        """Return the dense layers of a part of the block."""
        return FeedForward(width, self.feed_forward, dropout=self.feed_forward_dropout, dtype=self.dtype, name=part)

    def _leave(self, part: str, x: jax.Array, y: jax.Array, train: bool) -> jax.Array:
        """Return what leaves a part of the block, from what enters it and what it computes."""
        y = Dropout(self.dropout, name=f"{part}_dropout")(y, train)
        y = StochasticDepth(self.stochastic_depth, name=f"{part}_stochastic_depth")(y, train)
        return x + y if self.residual else y


def mixer(size: MixerSize = "S/16", **fields: Any) -> Mixer:
    """Return an MLP-Mixer for ImageNet, with `fields` exchanged: `mixer("S/16", classes=10, patch=4)`, say.

    Source: Tolstikhin et al. (2021, table 1). Parameters at 224 x 224 pixels: 19,104,624, 18,528,264, 60,293,428,
    59,880,472, 206,939,264, 208,196,168 and 432,350,952.
    """
    return Mixer(**{"classes": 1000, **variant(SIZES, size), **fields})
