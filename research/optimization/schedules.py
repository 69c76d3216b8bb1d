"""Learning-rate schedules as factors of the peak, safe to trace in every argument."""

from typing import Literal

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

Schedule = Literal["constant", "cosine", "linear", "inverse_square_root"]


def unit(schedule: Schedule, step: ArrayLike, warmup: ArrayLike, total: ArrayLike, floor: ArrayLike = 0.0) -> jax.Array:
    """Return the learning rate at `step`, counted from 0, as a factor of its peak.

    The factor rises linearly from 0 to 1 over `warmup` steps. Then `constant` stays; `cosine` (Loshchilov and Hutter,
    2017) and `linear` fall to `floor` at step `total`; `inverse_square_root`, sqrt(max(warmup, 1) / step) as in Vaswani
    et al. (2017), tends to it. `optax` has the same shapes but takes step counts as Python numbers only; here they are
    arguments.
    """
    step, warmup, total = (jnp.asarray(x, jnp.float32) for x in (step, warmup, total))
    start = jnp.maximum(warmup, 1.0)
    progress = jnp.clip((step - warmup) / jnp.maximum(total - warmup, 1.0), 0.0, 1.0)
    match schedule:
        case "constant":
            decay = jnp.ones_like(step)
        case "cosine":
            decay = 0.5 * (1.0 + jnp.cos(jnp.pi * progress))
        case "linear":
            decay = 1.0 - progress
        case "inverse_square_root":
            decay = jnp.sqrt(start / jnp.maximum(step, start))
    return jnp.where(step < warmup, step / start, floor + (1.0 - floor) * decay)
