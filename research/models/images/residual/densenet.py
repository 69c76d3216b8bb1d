"""Densely connected networks."""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from research.fields import Rate, Size, annotations
from research.layers.activations import activate
from research.layers.dropout import Dropout
from research.layers.images.convolution import pool
from research.layers.images.pooling import Reduction, overlapping_pool, require_side
from research.models.images.fields import ImageClassifierFields, RepeatedFields, normalization
from research.models.sizes import variant

DenseNetSize = Literal[121, 161, 169, 201]

SIZES: dict[DenseNetSize, dict[str, Any]] = {
    121: {"blocks": (6, 12, 24, 16)},
    161: {"blocks": (6, 12, 36, 24), "growth": 48, "width": 96},
    169: {"blocks": (6, 12, 32, 32)},
    201: {"blocks": (6, 12, 48, 32)},
}


class DenselyConnectedFields(RepeatedFields):
    """What the stages of a DenseNet share with it."""

    growth: Size = 32
    """Channels that a layer adds."""
    bottleneck: Size | None = 4
    """A 1 x 1 convolution first reduces what a layer sees to this many times `growth`; None has none."""
    concatenation: bool = True
    """Whether a layer sees what entered its stage and all earlier layers of it, or the layer before alone."""
    layer_dropout: Rate = 0.0
    """Share of what each layer gives dropped in training; 0.2 as published where images are not augmented."""

    def preactivated(self, x: jax.Array, train: bool, channels: int, kernel: int, index: int = 0) -> jax.Array:
        """Normalize, activate and convolve: [b, h, w, c] -> [b, h, w, channels]."""
        x = activate(self.activation, normalization(self, f"norm_{index}")(x, train))
        bare: dict[str, Any] = {"norm": "none", "bias": self.norm == "none", "activation": None}
        return self.unit(channels, kernel, **bare, name=f"unit_{index}")(x, train)


class DenseNet(DenselyConnectedFields, ImageClassifierFields):
    """A stem, stages whose layers see all before them, the mean over pixels, logits: [b, h, w, c] -> [b, classes].

    Huang, Liu, van der Maaten and Weinberger, "Densely connected convolutional networks" (2017), DenseNet-BC of table
    1; `densenet(121)` returns a published size. Between stages a transition reduces the channels and halves the image.
    Logits are float32. With `train=True` it draws from the `dropout` stream. Sown into `intermediates`: `stem_output`,
    `stage_0_output` and so on, before the transition, and `pooled`.
    """

    blocks: tuple[Size, ...] = (6, 12, 24, 16)
    """Layers of each stage."""
    width: Size = 64
    """Channels of the stem."""
    stem: Literal["imagenet", "small"] = "imagenet"
    """A 7 x 7 convolution, normalization and a maximum, shrinking the image by 4; or a bare 3 x 3 convolution, as
    published for images of 32 x 32."""
    compression: Size = 2
    """Factor by which a transition reduces the channels; 1 keeps them."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        imagenet = self.stem == "imagenet"
        stem = (Reduction(7, 2, added=6), Reduction(3, 2, added=2)) if imagenet else ()
        remedy = 'set model.stem to "small"' if imagenet else "give model.blocks fewer stages"
        require_side(x, (*stem, *[Reduction(2, 2)] * (len(self.blocks) - 1)), remedy)
        if imagenet:
            x = self.unit(self.width, 7, 2, name="stem")(x, train)  # [b, h / 2, w / 2, width]
            x = overlapping_pool(x, "max", 3, 2, "centred")  # [b, h / 4, w / 4, width]
        else:
            bare: dict[str, Any] = {"norm": "none", "bias": self.norm == "none", "activation": None}
            x = self.unit(self.width, 3, **bare, name="stem")(x, train)  # [b, h, w, width]
        self.sow("intermediates", "stem_output", x)
        shared = {name: getattr(self, name) for name in annotations(DenselyConnectedFields)}
        for stage, layers in enumerate(self.blocks):
            if stage:
                channels = max(1, x.shape[-1] // self.compression)
                x = Transition(**shared, channels=channels, name=f"transition_{stage - 1}")(x, train)
            x = DenselyConnectedStage(**shared, layers=layers, name=f"stage_{stage}")(x, train)
            self.sow("intermediates", f"stage_{stage}_output", x)
        return self.head(activate(self.activation, normalization(self, "norm")(x, train)), train)


class DenselyConnectedStage(DenselyConnectedFields):
    """Layers that each add channels to what they see: [b, h, w, c] -> [b, h, w, c + layers * growth]."""

    layers: Size = 6

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        shared = {name: getattr(self, name) for name in annotations(DenselyConnectedFields)}
        for index in range(self.layers):
            layer = self.repeated(DenselyConnectedLayer)(**shared, name=f"layer_{index}")
            new = layer(x, train)  # [b, h, w, growth]
            x = jnp.concatenate([x, new], axis=-1) if self.concatenation else new
        return x


class DenselyConnectedLayer(DenselyConnectedFields):
    """A 1 x 1 and a 3 x 3 convolution, each of what is normalized and activated: [b, h, w, c] -> [b, h, w, growth]."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        if self.bottleneck is not None:
            x = self.preactivated(x, train, self.bottleneck * self.growth, 1)
        x = self.preactivated(x, train, self.growth, 3, index=0 if self.bottleneck is None else 1)
        return Dropout(self.layer_dropout, name="dropout")(x, train)


class Transition(DenselyConnectedFields):
    """Normalization, activation, a 1 x 1 convolution and means: [b, h, w, c] -> [b, h / 2, w / 2, channels]."""

    channels: Size = 64

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        return pool(self.preactivated(x, train, self.channels, 1), "average", 2)


def densenet(size: DenseNetSize = 121, **fields: Any) -> DenseNet:
    """Return a DenseNet-BC for ImageNet, with `fields` exchanged.

    For small images: `densenet(121, stem="small", blocks=(6, 6, 6), growth=12, width=24, classes=10)`, say. Parameters:
    7,978,856, 28,681,000, 14,149,480 and 20,013,928.
    """
    return DenseNet(**{"classes": 1000, **variant(SIZES, size), **fields})
