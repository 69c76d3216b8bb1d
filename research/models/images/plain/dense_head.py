"""The end of a convolutional network that has hidden dense layers, as AlexNet and VGG do."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from research.fields import Rate, Size
from research.layers.activations import activate
from research.layers.dropout import Dropout
from research.layers.images.pooling import adaptive_average_pool
from research.layers.partition import ALTERNATELY, Rules
from research.models.images.fields import ImageClassifierFields

he_normal = nn.initializers.he_normal()


class DenseHeadFields(ImageClassifierFields):
    """What classifiers with hidden dense layers have besides; those layers hold most of their parameters."""

    partition: ClassVar[Rules] = ALTERNATELY

    grid: Size = 7
    """Side that the last feature maps are averaged to before the dense layers, whatever the image's."""
    dense: tuple[Size, ...] = (4096, 4096)
    """Widths of the hidden dense layers."""
    dropout: Rate = 0.5
    """Share of the hidden dense activations dropped in training."""

    def head(self, x: jax.Array, train: bool) -> jax.Array:
        """Return logits [b, classes], float32, of feature maps [b, h, w, c]: means over a grid, then dense layers.

        Weights of the hidden layers begin normal, with the variance 2 / inputs of He et al. (2015).
        """
        x = adaptive_average_pool(x, self.grid)  # [b, grid, grid, c]
        self.sow("intermediates", "pooled", x)
        x = x.reshape(len(x), -1)  # [b, grid * grid * c]
        for index, width in enumerate(self.dense):
            x = nn.Dense(width, dtype=self.dtype, kernel_init=he_normal, name=f"dense_{index}")(x)
            x = activate(self.activation, x)  # [b, width]
            self.sow("intermediates", f"dense_{index}_output", x)
            x = Dropout(self.dropout, name=f"dropout_{index}")(x, train)
        return nn.Dense(self.classes, dtype=self.dtype, name="logits")(x).astype(jnp.float32)
