"""Normalization by name."""

from typing import Any, Literal, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

from research.errors import unknown
from research.fields import NonNegative
from research.kernels.tracing import traced_once

Norm = Literal["layernorm", "rmsnorm"]


@traced_once()
def standardize(x: jax.Array, epsilon: float | jax.Array) -> jax.Array:
    """Give the last axis mean 0 and variance 1: (x - mean) / sqrt(variance + epsilon), the variance biased."""
    return _standardize(x, epsilon)


@jax.custom_jvp
def _standardize(x: jax.Array, epsilon: float | jax.Array) -> jax.Array:
    """Return what `standardize` does."""
    return root_mean_square(x - x.mean(axis=-1, keepdims=True), epsilon)


@_standardize.defjvp
def _standardize_jvp(primals: tuple[Any, Any], tangents: tuple[Any, Any]) -> tuple[jax.Array, jax.Array]:
    """Say the derivative by y itself: by its parts, XLA for CPUs keeps x - mean besides x and y.

    A step of a GPT of 6 layers of width 384 takes 43 MiB of 462 less so; in other orders of these terms, 16 to 37.
    """
    (x, epsilon), (tangent, epsilon_tangent) = primals, tangents
    centred = x - x.mean(axis=-1, keepdims=True)
    factor = jax.lax.rsqrt(jnp.square(centred).mean(axis=-1, keepdims=True) + epsilon)
    y = centred * factor
    turned = factor * (tangent - y * (y * tangent).mean(axis=-1, keepdims=True))
    return y, turned - factor * tangent.mean(axis=-1, keepdims=True) - y * jnp.square(factor) * (epsilon_tangent / 2)


def root_mean_square(x: jax.Array, epsilon: float | jax.Array) -> jax.Array:
    """Give the last axis mean square 1: x / sqrt(mean(x^2) + epsilon)."""
    return x * jax.lax.rsqrt(jnp.square(x).mean(axis=-1, keepdims=True) + epsilon)


class Normalization(nn.Module):
    """Normalize the last axis, then scale it, [..., d] -> [..., d]; statistics are float32 in any precision.

    `layernorm` is that of Ba, Kiros and Hinton (2016, eq. 3), with a learned scale and bias; `rmsnorm` that of Zhang
    and Sennrich (2019, eq. 4), with a learned scale alone.
    """

    kind: Norm = "layernorm"
    epsilon: NonNegative = 1e-5
    dtype: Literal["float32", "bfloat16"] = "float32"

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        d = x.shape[-1]
        wide = (1,) * (x.ndim - 1) + (d,)
        scale = self.param("scale", nn.initializers.ones, (d,)).reshape(wide)
        x = x.astype(jnp.float32)
        match self.kind:
            case "layernorm":
                bias = self.param("bias", nn.initializers.zeros, (d,)).reshape(wide)
                y = standardize(x, self.epsilon) * scale + bias
            case "rmsnorm":
                y = root_mean_square(x, self.epsilon) * scale
            case _:
                raise unknown("normalization", self.kind, get_args(Norm))
        return y.astype(self.dtype)
