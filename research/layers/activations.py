"""Activation functions by name."""

import functools
from typing import Literal, get_args

import jax
import jax.numpy as jnp

from research.errors import unknown
from research.kernels.slopes import with_slope_anew

Activation = Literal["relu", "relu6", "gelu", "silu", "hardswish", "tanh", "sigmoid", "hardsigmoid", "step"]

gelu = with_slope_anew(functools.partial(jax.nn.gelu, approximate=False))
gelu_tanh = with_slope_anew(functools.partial(jax.nn.gelu, approximate=True))
silu = with_slope_anew(jax.nn.silu)


def activate(name: Activation, x: jax.Array) -> jax.Array:
    """Apply the named activation elementwise.

    `gelu` is the exact one, with the error function (Hendrycks and Gimpel, 2016); `silu`, also called swish, is
    x * sigmoid(x) (Ramachandran et al., 2017); `hardsigmoid` is relu6(x + 3) / 6, and `hardswish` x times that (Howard
    et al., 2019).
    """
    match name:
        case "relu":
            return jax.nn.relu(x)
        case "relu6":
            return jax.nn.relu6(x)
        case "gelu":
            return gelu(x)
        case "silu":
            return silu(x)
        case "hardswish":
            return jax.nn.hard_silu(x)
        case "tanh":
            return jnp.tanh(x)
        case "sigmoid":
            return jax.nn.sigmoid(x)
        case "hardsigmoid":
            return jax.nn.hard_sigmoid(x)
        case "step":
            return step(x)
    raise unknown("activation", name, get_args(Activation))


@jax.custom_jvp
def step(x: jax.Array) -> jax.Array:
    """Return 1 where x >= 0, else 0.

    Its true derivative is zero everywhere and would stop learning, so the derivative is that of the identity on
    [-1, 1] and zero outside: the straight-through estimator of Bengio et al. (2013), saturated as in Hubara et al.
    (2016).
    """
    return (x >= 0).astype(x.dtype)


@step.defjvp
def _step_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Pass the tangent through where the input is not saturated."""
    (x,), (tangent,) = primals, tangents
    return step(x), jnp.where(jnp.abs(x) <= 1, tangent, 0)


def magnitude(x: jax.Array) -> jax.Array:
    """Return |x|, whose derivative at 0 is 0 instead of JAX's 1: what is 0 already is not pushed anywhere."""
    return jnp.where(x == 0, 0, jnp.abs(x))
