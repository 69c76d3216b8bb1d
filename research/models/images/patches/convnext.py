"""ConvNeXt: a convolutional network with the design of a vision transformer."""

from typing import Any, Literal

import flax.linen as nn
import jax

from research.errors import UsageError
from research.fields import NonNegative, Rate, Size, Switch, annotations, is_static_zero
from research.layers.activations import Activation
from research.layers.images.channel_normalization import ChannelNorm
from research.layers.stochastic_depth import StochasticDepth, growing
from research.models.images.fields import ImageClassifierFields, RepeatedFields, Stem, normalization
from research.models.sizes import variant
from research.models.stages import rows

ConvNeXtSize = Literal["tiny", "small", "base", "large"]

SIZES: dict[ConvNeXtSize, dict[str, Any]] = {
    "tiny": {"blocks": (3, 3, 9, 3), "channels": (96, 192, 384, 768), "stochastic_depth": 0.1},
    "small": {"blocks": (3, 3, 27, 3), "channels": (96, 192, 384, 768), "stochastic_depth": 0.4},
    "base": {"blocks": (3, 3, 27, 3), "channels": (128, 256, 512, 1024), "stochastic_depth": 0.5},
    "large": {"blocks": (3, 3, 27, 3), "channels": (192, 384, 768, 1536), "stochastic_depth": 0.5},
}

initial = nn.initializers.normal(0.02)


class ConvNeXtFields(RepeatedFields):
    """What the blocks of a ConvNeXt share with it."""

    norm: ChannelNorm = "layernorm"
    """Kind of normalization: in each block, before each halving, after the stem, and before the logits."""
    norm_epsilon: NonNegative = 1e-6
    """Added to the variance before its root is taken."""
    activation: Activation = "gelu"
    """In the middle of each block."""
    depthwise: bool = True
    """Whether the spatial convolution of a block sees each channel alone; a full one mixes them, and costs far more."""
    residual: bool = True
    """Whether what enters a block is added to what it computes."""
    kernel: Size = 7
    """Of the spatial convolution of a block."""
    expansion: Size = 4
    """Factor by which a block widens what enters it."""
    layer_scale: Switch = 1e-6
    """Initial factor of each channel of a block's branch, which is learned; 0 has none."""


class ConvNeXt(ConvNeXtFields, ImageClassifierFields):
    """A stem, stages of blocks with halvings between, the mean over pixels, then logits: [b, h, w, c] -> [b, classes].

    Liu et al., "A ConvNet for the 2020s" (2022), section 2 and figure 4. Logits are float32. With `train=True` it draws
    from the `dropout` stream. Sown into `intermediates`: `stem_output`, `stage_0_output` and so on, and `pooled`.
    """

    channels: tuple[Size, ...] = (96, 192, 384, 768)
    """Of each stage."""
    blocks: tuple[Size, ...] = (3, 3, 9, 3)
    """Blocks of each stage."""
    stem: Stem = "imagenet"
    """Patches of 4 x 4 pixels, without overlap; or a 3 x 3 convolution of stride 1, for images of a few pixels."""
    stochastic_depth: Rate = 0.0
    """Share of the last block's branch left out in training; earlier blocks have less, linearly from 0."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        stages = rows(channels=self.channels, blocks=self.blocks)
        kernel, stride = (4, 4) if self.stem == "imagenet" else (3, 1)
        self._check_fits(x, stride)
        x = self.unit(
            self.channels[0],
            kernel,
            stride,
            padding="valid" if self.stem == "imagenet" else "centred",
            bias=True,
            activation=None,
            kernel_init=initial,
            name="stem",
        )(x, train)  # [b, h / stride, w / stride, channels[0]]
        self.sow("intermediates", "stem_output", x)
        rates = growing(self.stochastic_depth, sum(self.blocks))
        for stage, (channels, blocks) in enumerate(stages):
            x = ConvNeXtStage(
                **convnext_fields(self),
                channels=channels,
                halves=stage > 0,
                stochastic_depth=rates[sum(self.blocks[:stage]) :][:blocks],
                name=f"stage_{stage}",
            )(x, train)
            self.sow("intermediates", f"stage_{stage}_output", x)
        pooled = normalization(self, "norm")(self.pooled(x)[:, None, None], train)
        return self.classify(pooled[:, 0, 0], train)

    def _check_fits(self, x: jax.Array, stride: int) -> None:
        """Raise `UsageError` where patches would be larger than the image that they are cut from."""
        b, h, w, c = x.shape
        least = stride * 2 ** (len(self.channels) - 1)
        if min(h, w) < least:
            raise UsageError(
                f"an image of {h} x {w} is too small for {len(self.channels)} stages, which need {least} x {least}; "
                'use fewer, or stem="small"'
            )


class ConvNeXtStage(ConvNeXtFields):
    """Blocks of equal width, before them maybe a halving of the image: [b, h, w, c] -> [b, h', w', channels]."""

    channels: Size = 96
    halves: bool = False
    stochastic_depth: tuple[Rate, ...] = (0.0,)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        if self.halves:
            x = normalization(self, "halving_norm")(x, train)
            plain: dict[str, Any] = {"norm": "none", "activation": None, "kernel_init": initial}
            x = self.unit(self.channels, 2, 2, padding="valid", **plain, name="halving")(x, train)
        for index, rate in enumerate(self.stochastic_depth):
            block = self.repeated(ConvNeXtBlock)
            x = block(**convnext_fields(self), stochastic_depth=rate, name=f"block_{index}")(x, train)
        return x


class ConvNeXtBlock(ConvNeXtFields):
    """Convolve in space, normalize, then widen and narrow each pixel: [b, h, w, c] -> [b, h, w, c]."""

    stochastic_depth: Rate = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        b, h, w, c = x.shape
        groups = c if self.depthwise else 1
        plain: dict[str, Any] = {"bias": True, "kernel_init": initial}
        branch = self.unit(c, self.kernel, groups=groups, padding="same", activation=None, **plain, name="spatial")(
            x, train
        )
        branch = self.unit(c * self.expansion, 1, norm="none", **plain, name="expand")(branch, train)
        branch = self.unit(c, 1, norm="none", activation=None, **plain, name="project")(branch, train)
        if not is_static_zero(self.layer_scale):
            scale = self.param("layer_scale", nn.initializers.constant(self.layer_scale), (c,))
            branch = branch * scale.astype(branch.dtype)[None, None, None]
        branch = StochasticDepth(self.stochastic_depth, name="stochastic_depth")(branch, train)
        return x + branch if self.residual else branch


def convnext_fields(model: ConvNeXtFields) -> dict[str, Any]:
    """Return the fields that stages and blocks have in common with `model`, by name."""
    return {name: getattr(model, name) for name in annotations(ConvNeXtFields)}


def convnext(size: ConvNeXtSize = "tiny", **fields: Any) -> ConvNeXt:
    """Return a ConvNeXt for ImageNet, with `fields` exchanged.

    Source: Liu et al. (2022, section 3), stochastic depth from table 5. Parameters: 28,589,128, 50,223,688, 88,591,464
    and 197,767,336.
    """
    return ConvNeXt(**{"classes": 1000, **variant(SIZES, size), **fields})
