"""What is computed of images by means over all their pixels, channel by channel."""

from collections.abc import Callable

import jax

WithStatistics = Callable[..., tuple[jax.Array, ...]]


def over_pixels(function: WithStatistics, x: jax.Array, *channels: jax.Array) -> tuple[jax.Array, ...]:
    """Return `function(x, *channels)` of images [b, h, w, c] and arrays [c]: images, then statistics [c] of theirs.

    The function takes pixels [..., c] in any order and place. On a CPU it is given them as the rows of a matrix, apart
    from what comes before and after: without XLA's YNN fusions a step of a ResNet-18 took two thirds of the processor
    time so, and with them as long as before.
    """

    def in_rows(x: jax.Array, *channels: jax.Array) -> tuple[jax.Array, ...]:
        rows = jax.lax.optimization_barrier(x.reshape(-1, x.shape[-1]))
        y, *statistics = function(rows, *channels)
        return jax.lax.optimization_barrier(y).reshape(x.shape), *statistics

    return jax.lax.platform_dependent(x, *channels, cpu=in_rows, default=function)
