"""The fields that Inception networks share, and chains of convolutions."""

from typing import Any

import jax
import jax.numpy as jnp

from research.fields import NonNegative, Size, annotations
from research.layers.images.convolution import Padding
from research.models.images.fields import RepeatedFields
from research.models.stages import widened


class InceptionFields(RepeatedFields):
    """What the blocks of an Inception network share with it."""

    width_percent: Size = 100
    """Channels of every layer, in percent of those published."""
    norm_epsilon: NonNegative = 1e-3
    """Added to the variance before its root is taken."""

    def convolve(
        self,
        x: jax.Array,
        train: bool,
        name: str,
        channels: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: Padding = "centred",
    ) -> jax.Array:
        """Convolve, normalize and activate, with the width that the model gives to published `channels`."""
        width = widened(channels, self.width_percent, multiple=1)
        return self.unit(width, kernel, stride, padding=padding, name=name)(x, train)

    def chain(self, x: jax.Array, train: bool, name: str, *convolutions: tuple[Any, ...]) -> jax.Array:
        """Convolve in turn, with the channels, kernel and if need be stride and padding of each."""
        for index, convolution in enumerate(convolutions):
            x = self.convolve(x, train, f"{name}_{index}", *convolution)
        return x


def inception_fields(model: InceptionFields) -> dict[str, Any]:
    """Return the fields that blocks have in common with `model`, by name."""
    return {name: getattr(model, name) for name in annotations(InceptionFields)}


def side_by_side(*branches: jax.Array) -> jax.Array:
    """Return the channels of all branches [b, h, w, c], one behind the other."""
    return jnp.concatenate(branches, axis=-1)
