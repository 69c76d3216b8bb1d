"""Residual networks: ResNet, its pre-activation form, and ResNet with squeeze and excitation."""

from typing import Any, Literal

import flax.linen as nn
import jax

from research.fields import Rate, Size, annotations
from research.layers.activations import activate
from research.layers.images.convolution import he_normal
from research.layers.images.squeeze_excitation import SqueezeExcitation
from research.layers.stochastic_depth import StochasticDepth, growing
from research.models.images.fields import ImageClassifierFields, RepeatedFields, Stem, normalization
from research.models.sizes import variant

ResNetSize = Literal[18, 34, 50, 101, 152]

SIZES: dict[ResNetSize, dict[str, Any]] = {
    18: {"blocks": (2, 2, 2, 2), "block": "basic"},
    34: {"blocks": (3, 4, 6, 3), "block": "basic"},
    50: {"blocks": (3, 4, 6, 3), "block": "bottleneck"},
    101: {"blocks": (3, 4, 23, 3), "block": "bottleneck"},
    152: {"blocks": (3, 8, 36, 3), "block": "bottleneck"},
}

EXPANSION = {"basic": 1, "bottleneck": 4}


class ResidualFields(RepeatedFields):
    """What the blocks of a ResNet share with it."""

    block: Literal["basic", "bottleneck"] = "basic"
    """Two 3 x 3 convolutions; or 1 x 1, 3 x 3 and 1 x 1, the last of which has four times the channels."""
    stride_at: Literal["first", "spatial"] = "spatial"
    """Which convolution of a bottleneck shrinks the image: the first, as published, or the 3 x 3 one ("v1.5")."""
    preactivation: bool = False
    """Whether normalization and activation come before each convolution (He et al., 2016b)."""
    residual: bool = True
    """Whether what enters a block is added to what it computes."""
    squeeze_excitation: Size | None = None
    """Factor by which squeeze and excitation reduces the channels of a block, 16 as published; None has none."""
    zero_init: bool = False
    """Whether blocks begin as the identity: the last scale of each is zero (Goyal et al., 2017)."""


class ResNet(ResidualFields, ImageClassifierFields):
    """A stem, stages of residual blocks, the mean over pixels, then logits: [b, h, w, c] -> [b, classes], float32.

    He, Zhang, Ren and Sun, "Deep residual learning for image recognition" (2016a), table 1; with `preactivation`,
    "Identity mappings in deep residual networks" (2016b), with one more normalization and activation at the end; with
    `squeeze_excitation`, Hu et al. (2018). `resnet(50)` returns a published size. Every stage but the first halves the
    image and doubles the channels. With `train=True` it draws from the `dropout` stream. Sown into `intermediates`:
    `stem_output`, `stage_0_output` and so on, and `pooled`.
    """

    blocks: tuple[Size, ...] = (2, 2, 2, 2)
    """Blocks of each stage."""
    width: Size = 64
    """Channels of the first stage, before a bottleneck expands them."""
    stem: Stem = "imagenet"
    """A 7 x 7 convolution and a maximum, each with stride 2; or a 3 x 3 convolution, for images of a few pixels."""
    stochastic_depth: Rate = 0.0
    """Share of the last block's branch left out in training; earlier blocks have less, linearly from 0."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        bare: dict[str, Any] = {}
        if self.preactivation:
            bare = {"norm": "none", "bias": self.norm == "none", "activation": None}
        if self.stem == "imagenet":
            x = self.unit(self.width, 7, 2, **bare, name="stem")(x, train)  # [b, h / 2, w / 2, width]
            x = nn.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))  # [b, h / 4, w / 4, width]
        else:
            x = self.unit(self.width, 3, **bare, name="stem")(x, train)  # [b, h, w, width]
        self.sow("intermediates", "stem_output", x)
        rates = growing(self.stochastic_depth, sum(self.blocks))
        for stage, blocks in enumerate(self.blocks):
            x = ResNetStage(
                **residual_fields(self),
                channels=self.width * 2**stage,
                stride=1 if stage == 0 else 2,
                stochastic_depth=rates[sum(self.blocks[:stage]) :][:blocks],
                name=f"stage_{stage}",
            )(x, train)
            self.sow("intermediates", f"stage_{stage}_output", x)
        if self.preactivation:
            x = activate(self.activation, normalization(self, "norm")(x, train))
        return self.head(x, train)


class ResNetStage(ResidualFields):
    """Blocks of equal width, the first of which may shrink the image: [b, h, w, c] -> [b, h', w', c']."""

    channels: Size = 64
    stride: Size = 1
    stochastic_depth: tuple[Rate, ...] = (0.0,)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        for index, rate in enumerate(self.stochastic_depth):
            x = self.repeated(ResidualBlock)(
                **residual_fields(self),
                channels=self.channels,
                stride=self.stride if index == 0 else 1,
                stochastic_depth=rate,
                name=f"block_{index}",
            )(x, train)
        return x


class ResidualBlock(ResidualFields):
    """Convolutions added to what enters them: [b, h, w, c] -> [b, h / stride, w / stride, channels * expansion].

    Where the shape changes, a 1 x 1 convolution changes that of the input too (He et al., 2016a, option B).
    """

    channels: Size = 64
    stride: Size = 1
    stochastic_depth: Rate = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        width = self.channels * EXPANSION[self.block]
        changes = self.stride != 1 or x.shape[-1] != width
        if self.preactivation:
            activated = activate(self.activation, normalization(self, "norm_0")(x, train))
            shortcut, branch = activated if changes else x, self._preactivated(activated, train)
        else:
            shortcut, branch = x, self._branch(x, train)  # [b, h / stride, w / stride, width]
        if self.squeeze_excitation is not None:
            reduced = max(1, width // self.squeeze_excitation)
            branch = SqueezeExcitation(reduced, self.activation, dtype=self.dtype, name="squeeze_excitation")(branch)
        branch = StochasticDepth(self.stochastic_depth, name="stochastic_depth")(branch, train)
        if self.residual:
            if changes:
                bare: dict[str, Any] = {"norm": "none", "bias": self.norm == "none"} if self.preactivation else {}
                project = self.unit(width, 1, self.stride, activation=None, **bare, name="projection")
                shortcut = project(shortcut, train)
            branch = shortcut + branch
        return branch if self.preactivation else activate(self.activation, branch)

    def _branch(self, x: jax.Array, train: bool) -> jax.Array:
        """Convolve and normalize in turn, with activations between."""
        *first, last = self._convolutions()
        for index, sizes in enumerate(first):
            x = self.unit(*sizes, name=f"unit_{index}")(x, train)
        scale = nn.initializers.zeros if self.zero_init else nn.initializers.ones
        return self.unit(*last, activation=None, norm_scale_init=scale, name=f"unit_{len(first)}")(x, train)

    def _preactivated(self, x: jax.Array, train: bool) -> jax.Array:
        """Convolve what is normalized and activated already; normalize and activate between the convolutions."""
        convolutions = self._convolutions()
        for index, sizes in enumerate(convolutions):
            if index:
                x = activate(self.activation, normalization(self, f"norm_{index}")(x, train))
            zero = self.zero_init and index == len(convolutions) - 1
            x = self.unit(
                *sizes,
                norm="none",
                bias=self.norm == "none",
                activation=None,
                kernel_init=nn.initializers.zeros if zero else he_normal,
                name=f"unit_{index}",
            )(x, train)
        return x

    def _convolutions(self) -> list[tuple[int, int, int]]:
        """Return channels, kernel and stride of each convolution."""
        width = self.channels * EXPANSION[self.block]
        if self.block == "basic":
            return [(self.channels, 3, self.stride), (width, 3, 1)]
        first, spatial = (self.stride, 1) if self.stride_at == "first" else (1, self.stride)
        return [(self.channels, 1, first), (self.channels, 3, spatial), (width, 1, 1)]


def residual_fields(model: ResidualFields) -> dict[str, Any]:
    """Return the fields that stages and blocks have in common with `model`, by name."""
    return {name: getattr(model, name) for name in annotations(ResidualFields)}


def resnet(size: ResNetSize = 50, **fields: Any) -> ResNet:
    """Return a ResNet for ImageNet, with `fields` exchanged: `resnet(18, classes=10, stem="small")`, say.

    With the stride in the 3 x 3 convolution of a bottleneck, as in most libraries ("v1.5"); `stride_at="first"` is as
    published. Source: He et al. (2016a, table 1). Parameters: 11,689,512, 21,797,672, 25,557,032, 44,549,160 and
    60,192,808.
    """
    return ResNet(**{"classes": 1000, **variant(SIZES, size), **fields})


def se_resnet(size: ResNetSize = 50, **fields: Any) -> ResNet:
    """Return a ResNet with squeeze and excitation of ratio 16 in every block (Hu et al., 2018, table 1)."""
    return resnet(size, **{"squeeze_excitation": 16, **fields})
