"""Losses of one element each, as pure functions of estimate and target, computed in float32."""

import math

import jax
import jax.numpy as jnp

from research.fields import is_static_zero
from research.layers.activations import magnitude


def cross_entropy(logits: jax.Array, label: jax.Array, smoothing: float | jax.Array = 0.0) -> jax.Array:
    """Return -log softmax(logits)[label], [..., c] and [...] -> [...], nats.

    `smoothing` is the share of the target spread evenly over all classes: Szegedy et al., "Rethinking the inception
    architecture for computer vision" (2016, section 7).
    """
    log_probabilities = jax.nn.log_softmax(logits.astype(jnp.float32))
    loss = -jnp.take_along_axis(log_probabilities, label[..., None], axis=-1)[..., 0]
    if is_static_zero(smoothing):
        return loss
    # A class that is ruled out by a logit of minus infinity makes the mean infinite, of which none is taken at 0.
    return (1 - smoothing) * loss - jnp.where(smoothing == 0, 0, smoothing * log_probabilities.mean(axis=-1))


def divergence(wanted: jax.Array, logits: jax.Array) -> jax.Array:
    """Return KL(softmax(wanted) || softmax(logits)), [..., c] each -> [...], nats (Kullback and Leibler, 1951)."""
    log_p, log_q = (jax.nn.log_softmax(each.astype(jnp.float32)) for each in (wanted, logits))
    return (jnp.exp(log_p) * (log_p - log_q)).sum(axis=-1)


def is_likeliest(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Return logits.argmax(-1) == label, [..., c] and [...] in [0, c) -> bool [...]; False where a logit is NaN.

    That is: no class has a greater logit, and none before it as great a one. A CPU counts those in less time than it
    finds the greatest.
    """
    own = jnp.take_along_axis(logits, label[..., None], axis=-1)
    before = jax.lax.broadcasted_iota(jnp.int32, logits.shape, logits.ndim - 1) < label[..., None]
    ahead = jnp.where(before, ~(logits < own), ~(logits <= own))
    return ahead.sum(axis=-1, dtype=jnp.int32) == 0


def binary_cross_entropy(logit: jax.Array, label: jax.Array, positive_weight: float | jax.Array = 1.0) -> jax.Array:
    """Return -w y log p - (1 - y) log(1 - p) for p = sigmoid(logit) and a label y of 0 or 1, without overflow.

    Softplus(-x) is -log p: Goodfellow, Bengio and Courville, "Deep learning" (2016, section 6.2.2.2).
    """
    logit = logit.astype(jnp.float32)
    return jnp.where(label > 0, positive_weight * jax.nn.softplus(-logit), jax.nn.softplus(logit))


def squared(estimate: jax.Array, target: jax.Array) -> jax.Array:
    """Return (target - estimate)^2, whose best constant estimate is the mean (Gauss, 1809)."""
    return jnp.square(target - estimate)


def absolute(estimate: jax.Array, target: jax.Array) -> jax.Array:
    """Return |target - estimate|, whose best constant estimate is the median (Laplace, 1774)."""
    return magnitude(target - estimate)


def huber(estimate: jax.Array, target: jax.Array, delta: float | jax.Array) -> jax.Array:
    """Return e^2 / 2 where |e| <= delta, else delta (|e| - delta / 2).

    Huber, "Robust estimation of a location parameter" (1964).
    """
    error = jnp.abs(target - estimate)
    near = jnp.minimum(error, delta)
    return near**2 / 2 + delta * (error - near)


def gaussian(mean: jax.Array, log_variance: jax.Array, target: jax.Array) -> jax.Array:
    """Return the negative log-density of a normal distribution, (log 2 pi + s + (y - m)^2 e^-s) / 2 with s = log var.

    Nix and Weigend, "Estimating the mean and variance of the target probability distribution" (1994, equation 4).
    """
    # The deviations are squared once they are divided: no error times an infinite precision is no number.
    deviations = (target - mean) * jnp.exp(-log_variance / 2)
    return (math.log(2 * math.pi) + log_variance + jnp.square(deviations)) / 2


def pinball(estimate: jax.Array, target: jax.Array, quantile: float | jax.Array) -> jax.Array:
    """Return q e where e = target - estimate >= 0, else (q - 1) e; its best constant estimate is the quantile q.

    Koenker and Bassett, "Regression quantiles" (1978).
    """
    error = target - estimate
    return jnp.where(error > 0, quantile * error, jnp.where(error < 0, (quantile - 1) * error, 0 * error))
