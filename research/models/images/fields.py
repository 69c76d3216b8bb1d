"""The fields that all convolutional networks for classification share, and the parts that they begin and end with."""

from typing import Any, Literal, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from research.fields import Fraction, NonNegative, Rate, Size, annotations
from research.layers.activations import Activation
from research.layers.dropout import Dropout
from research.layers.images.channel_normalization import ChannelNorm, ChannelNormalization
from research.layers.images.convolution import ConvolutionUnit
from research.layers.remat import remat
from research.models.model import Model

Stem = Literal["imagenet", "small"]
Module = TypeVar("Module", bound=nn.Module)


class ConvolutionalFields(nn.Module):
    """What all parts of a convolutional network share; every model of the family has these fields, with these names."""

    norm: ChannelNorm = "batchnorm"
    """Kind of normalization after the convolutions."""
    norm_momentum: Fraction = 0.9
    """Share of the old running average that a step keeps; batchnorm only."""
    norm_epsilon: NonNegative = 1e-5
    """Added to the variance before its root is taken."""
    activation: Activation = "relu"
    """After the convolutions."""
    standardized: bool = False
    """Whether kernels are standardized before they are used (weight standardization)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the computation; parameters and normalization statistics are float32."""

    def unit(self, channels: int, kernel: int | tuple[int, int], stride: int = 1, **fields: Any) -> ConvolutionUnit:
        """Return convolution, normalization and activation as this model has them, with `fields` exchanged."""
        return ConvolutionUnit(channels, kernel, stride, **{**shared(self), **fields})


class RepeatedFields(ConvolutionalFields):
    """What all parts of a convolutional network of many blocks share."""

    remat: Literal["none", "full"] = "none"
    """What of each block the backward pass computes anew, to save memory: none, or full for all of it."""

    def repeated(self, block: type[Module]) -> type[Module]:
        """Return a class of blocks, called with images and whether to train, as this model has them."""
        return remat(block, self.remat, static_argnums=(2,))


class ImageClassifierFields(ConvolutionalFields, Model):
    """What every convolutional classifier has besides.

    Over the mesh axis "tensor" nothing is divided: feature maps are larger than kernels, so exchanging them costs more
    than it saves, and grouped convolutions would learn wrongly (see `research.kernels.convolution.convolve`).
    """

    classes: Size = 10
    """Width of the logits; for regression, how many numbers to estimate."""
    dropout: Rate = 0.0
    """Share of the pooled features dropped in training."""

    @property
    def reads(self) -> tuple[str, ...]:
        return ("image",)

    def head(self, x: jax.Array, train: bool) -> jax.Array:
        """Return logits [b, classes], float32, of feature maps [b, h, w, c]: mean over pixels, dropout, dense layer."""
        return self.classify(self.pooled(x), train)

    def pooled(self, x: jax.Array) -> jax.Array:
        """Return the means of feature maps over their pixels, [b, h, w, c] -> [b, c]."""
        pooled = x.mean(axis=(1, 2))
        self.sow("intermediates", "pooled", pooled)
        return pooled

    def classify(self, features: jax.Array, train: bool) -> jax.Array:
        """Return logits [b, classes], float32, of features [b, c]: dropout, dense layer."""
        features = Dropout(self.dropout, name="dropout")(features, train)
        return nn.Dense(self.classes, dtype=self.dtype, name="logits")(features).astype(jnp.float32)


def shared(model: ConvolutionalFields) -> dict[str, Any]:
    """Return the fields that the parts of `model` have in common with it, by name."""
    return {name: getattr(model, name) for name in annotations(ConvolutionalFields)}


def normalization(model: ConvolutionalFields, name: str) -> ChannelNormalization:
    """Return the normalization that `model` uses, under a name."""
    return ChannelNormalization(model.norm, model.norm_momentum, model.norm_epsilon, model.dtype, name=name)
