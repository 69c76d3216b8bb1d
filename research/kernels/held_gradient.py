"""Gradients that are computed once, before anything reads from them."""

import jax

from research.kernels.tracing import traced_once


@traced_once()
def held_gradient(x: jax.Array) -> jax.Array:
    """Return x, whose gradient on a CPU is computed once, as an array, before anything reads from it.

    XLA would merge what computes it into each of its readers, such as the product for a kernel's gradient and the sum
    for a bias's. Derivatives of every kind and order are those of the identity.
    """
    return _held(x)


@jax.custom_jvp
def _held(x: jax.Array) -> jax.Array:
    """Return x."""
    return x


@_held.defjvp
def _held_gradient_jvp(primals: tuple[jax.Array], tangents: tuple[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Hold the tangent: transposed, that holds the gradient."""
    (x,), (tangent,) = primals, tangents
    return x, jax.lax.platform_dependent(tangent, cpu=jax.lax.optimization_barrier, default=lambda tangent: tangent)
