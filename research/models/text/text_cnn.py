"""Convolutional networks for sequences: TextCNN over tokens, CNN1D over features."""

from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from research.fields import Rate, Size
from research.kernels.sequence_convolution import convolve_steps
from research.layers.activations import Activation, activate
from research.layers.dropout import Dropout
from research.layers.partition import Rules
from research.layers.sequences.lengths import SequenceInputs, pool_steps, read_sequence, valid_steps
from research.models.model import Model


class TextCNN(Model):
    """Filters of several widths over a text, the strongest answer of each, then logits [b, classes], float32.

    Kim, "Convolutional neural networks for sentence classification" (2014): the model CNN-rand, its embedding learned
    from scratch. Called with tokens [b, l], or a mapping with `tokens` and optionally `lengths` [b]. A window counts
    where it lies wholly within the text; a text shorter than the window is one window, filled up with zeros, so padding
    changes nothing. With `train=True` it draws from the `dropout` stream. The paper also bounds the norm of each row of
    the last layer by 3, which is not done here. Sown into `intermediates`: `pooled` [b, filters * windows].
    """

    partition: ClassVar[Rules] = ((r"\bembed\.embedding$", (("tensor", "fsdp"), None)),)

    vocabulary: Size = 10000
    """Number of token ids."""
    classes: Size = 2
    """Width of the logits."""
    embedding: Size = 300
    """Width of the token embedding."""
    windows: tuple[Size, ...] = (3, 4, 5)
    """How many tokens the filters of each group span."""
    filters: Size = 100
    """Filters in each group."""
    activation: Activation = "relu"
    """After the convolution, before the maximum over the text."""
    dropout: Rate = 0.5
    """Share of the pooled features that is dropped in training."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the computation; parameters are float32."""

    @property
    def reads(self) -> tuple[str, ...]:
        return ("tokens", "lengths?")

    @nn.nowrap
    def vocabularies(self) -> dict[str, int]:
        return {"tokens": self.vocabulary}

    @nn.compact
    def __call__(self, inputs: SequenceInputs, train: bool = False) -> jax.Array:
        tokens, lengths = read_sequence(inputs, "tokens")
        b, l = tokens.shape
        lengths = jnp.full(b, l) if lengths is None else lengths
        x = nn.Embed(self.vocabulary, self.embedding, dtype=self.dtype, name="embed")(tokens)  # [b, l, embedding]
        x = jnp.where(valid_steps(lengths, b, l)[..., None], x, 0)
        x = jnp.pad(x, ((0, 0), (0, max(0, max(self.windows, default=1) - l)), (0, 0)))  # room for the widest window
        pooled = []
        for index, width in enumerate(self.windows):
            convolution = nn.Conv(
                self.filters,
                (width,),
                padding="VALID",
                dtype=self.dtype,
                conv_general_dilated=convolve_steps,
                name=f"window_{index}",
            )
            answers = activate(self.activation, convolution(x))  # [b, l - width + 1, filters]
            pooled.append(pool_steps(answers, jnp.maximum(lengths - width + 1, 1), "max"))  # [b, filters]
        features = jnp.concatenate(pooled, axis=-1)  # [b, filters * windows]
        self.sow("intermediates", "pooled", features)
        features = Dropout(self.dropout, name="dropout")(features, train)
        return nn.Dense(self.classes, dtype=self.dtype, name="logits")(features).astype(jnp.float32)  # [b, classes]


class CNN1D(Model):
    """Convolutions over time, pooled over the valid steps, then logits [b, classes], float32.

    The time-delay network of Waibel, Hanazawa, Hinton, Shikano and Lang (1989). Called with features [b, l, d], or a
    mapping with `features` and optionally `lengths` [b]. Every convolution keeps the length, with zeros before the
    first and after the last valid step, so padding changes nothing. For regression the logits are the estimates. With
    `train=True` it draws from the `dropout` stream. Sown into `intermediates`: `block_0_output` and so on, `pooled`.
    Over the mesh axis "tensor" nothing is divided.
    """

    classes: Size = 10
    """Width of the logits."""
    channels: tuple[Size, ...] = (64, 64)
    """Output channels of each convolution."""
    kernel: Size = 5
    """Steps that a convolution spans."""
    dilation: Size = 1
    """Factor by which the distance between those steps grows from one convolution to the next."""
    activation: Activation = "relu"
    """After every convolution."""
    pooling: Literal["mean", "max"] = "mean"
    """How the steps become one vector."""
    dropout: Rate = 0.0
    """Share of the pooled features that is dropped in training."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the computation; parameters are float32."""

    @property
    def reads(self) -> tuple[str, ...]:
        return ("features", "lengths?")

    @nn.compact
    def __call__(self, inputs: SequenceInputs, train: bool = False) -> jax.Array:
        x, lengths = read_sequence(inputs, "features")
        b, l, d = x.shape
        lengths = jnp.full(b, l) if lengths is None else lengths
        valid = valid_steps(lengths, b, l)[..., None]  # [b, l, 1]
        for index, channels in enumerate(self.channels):
            convolution = nn.Conv(
                channels,
                (self.kernel,),
                kernel_dilation=self.dilation**index,
                dtype=self.dtype,
                conv_general_dilated=convolve_steps,
                name=f"block_{index}",
            )
            x = activate(self.activation, convolution(jnp.where(valid, x, 0)))  # [b, l, channels]
            self.sow("intermediates", f"block_{index}_output", x)
        pooled = pool_steps(x, lengths, self.pooling)  # [b, channels]
        self.sow("intermediates", "pooled", pooled)
        pooled = Dropout(self.dropout, name="dropout")(pooled, train)
        return nn.Dense(self.classes, dtype=self.dtype, name="logits")(pooled).astype(jnp.float32)  # [b, classes]
