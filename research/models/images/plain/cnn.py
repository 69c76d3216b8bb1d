"""The plain convolutional network: convolution and pooling, then a dense head."""

from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from research.fields import Rate, Size
from research.layers import Activation, ConvolutionBlock, Dropout, Pooling, activate
from research.layers.partition import ALTERNATELY, Rules
from research.models.model import Model


class CNN(Model):
    """Blocks of convolution, activation and pooling, then dense layers with dropout, then logits.

    The family of LeNet-5 (LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document
    recognition", 1998). Maps images [b, h, w, c] to logits [b, classes], float32. With `train=True` it draws from the
    `dropout` stream. Sown into `intermediates`, after the activation: `block_0_output`, `dense_0_output` and so on.
    """

    partition: ClassVar[Rules] = ALTERNATELY

    classes: Size = 10
    """Width of the logits."""
    channels: tuple[Size, ...] = (32, 64)
    """Output channels of each convolution block."""
    kernel: Size = 3
    """Side of the convolution kernels, in pixels."""
    pooling: Pooling = "max"
    """How each block pools its windows."""
    pool: Size = 2
    """Side of the pooling windows, in pixels; 1 does not pool."""
    dense: tuple[Size, ...] = (128,)
    """Widths of the hidden dense layers."""
    activation: Activation = "relu"
    """After every convolution and hidden dense layer."""
    dropout: Rate = 0.0
    """Share of the hidden dense activations that is dropped in training."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the computation; parameters are float32."""

    @property
    def reads(self) -> tuple[str, ...]:
        return ("image",)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        b, h, w, c = x.shape
        for index, channels in enumerate(self.channels):
            block = ConvolutionBlock(
                channels,
                self.kernel,
                self.pool,
                self.pooling,
                self.activation,
                self.dtype,
                name=f"block_{index}",
            )
            x = block(x)  # [b, h / pool, w / pool, channels]
            self.sow("intermediates", f"block_{index}_output", x)
        x = x.reshape(b, -1)  # [b, d]
        for index, width in enumerate(self.dense):
            x = activate(self.activation, nn.Dense(width, dtype=self.dtype, name=f"dense_{index}")(x))  # [b, width]
            self.sow("intermediates", f"dense_{index}_output", x)
            x = Dropout(self.dropout, name=f"dropout_{index}")(x, train)
        logits = nn.Dense(self.classes, dtype=self.dtype, name="logits")(x)  # [b, classes]
        return logits.astype(jnp.float32)
