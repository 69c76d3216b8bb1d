"""Squeeze and excitation: channels weighed by what the whole image shows."""

from typing import Literal

import flax.linen as nn
import jax

from research.fields import Size
from research.layers.activations import Activation, activate


class SqueezeExcitation(nn.Module):
    """Multiply each channel by a gate computed from the means of all channels, [b, h, w, c] -> [b, h, w, c].

    Two dense layers, the first of `width` units. Source: Hu, Shen and Sun, "Squeeze-and-excitation networks" (2018,
    section 3); MobileNet v3 and EfficientNet exchange activation and gate.
    """

    width: Size
    activation: Activation = "relu"
    gate: Activation = "sigmoid"
    dtype: Literal["float32", "bfloat16"] = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        b, h, w, c = x.shape
        squeezed = x.mean(axis=(1, 2))  # [b, c]
        hidden = activate(self.activation, nn.Dense(self.width, dtype=self.dtype, name="squeeze")(squeezed))
        gate = activate(self.gate, nn.Dense(c, dtype=self.dtype, name="excite")(hidden))  # [b, c]
        return x * gate[:, None, None]
