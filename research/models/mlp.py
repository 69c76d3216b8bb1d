"""The multilayer perceptron."""

from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from research.fields import Rate, Size
from research.layers.activations import Activation, activate
from research.layers.dropout import Dropout
from research.layers.partition import ALTERNATELY, Rules
from research.models.model import Model


class MLP(Model):
    """Dense layers with an activation and dropout, then logits [b, classes], float32.

    The network of Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors" (1986). Called
    with an array of any shape behind the batch, a table, an image or a window of a series; each example is flattened,
    and where examples differ in length the padding counts. For regression the logits are the estimates. With
    `train=True` it draws from the `dropout` stream. Sown into `intermediates`, after the activation: `dense_0_output`
    and so on.
    """

    partition: ClassVar[Rules] = ALTERNATELY

    hidden: tuple[Size, ...] = (128, 128)
    """Widths of the hidden layers; without any it is linear."""
    classes: Size = 10
    """Width of the logits; for regression, how many numbers to estimate."""
    activation: Activation = "relu"
    """After every hidden layer."""
    dropout: Rate = 0.0
    """Share of the hidden activations that is dropped in training."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the computation; parameters are float32."""

    @property
    def reads(self) -> tuple[str, ...]:
        return ("image|features",)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> jax.Array:
        x = x.reshape(len(x), -1)  # [b, d]
        for index, width in enumerate(self.hidden):
            x = activate(self.activation, nn.Dense(width, dtype=self.dtype, name=f"dense_{index}")(x))  # [b, width]
            self.sow("intermediates", f"dense_{index}_output", x)
            x = Dropout(self.dropout, name=f"dropout_{index}")(x, train)
        logits = nn.Dense(self.classes, dtype=self.dtype, name="logits")(x)  # [b, classes]
        return logits.astype(jnp.float32)
