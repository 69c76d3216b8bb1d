"""Pure transforms of image batches, one independent draw per example."""

import jax
import jax.numpy as jnp

from research.errors import UsageError


def standardize(images: jax.Array, mean: tuple[float, ...], std: tuple[float, ...]) -> jax.Array:
    """Return (x / 255 - mean) / std in float32 for uint8 images [..., h, w, c].

    `mean` and `std` are in units of the brightest pixel, one value per channel or one for all.

    Raises:
        UsageError: there are neither one nor c values.
    """
    for name, values in (("mean", mean), ("std", std)):
        if len(values) not in (1, images.shape[-1]):
            raise UsageError(f"{name} has {len(values)} values for images of {images.shape[-1]} channels")
    channels = (1,) * (images.ndim - 1) + (-1,)
    center, scale = (
        jnp.stack([jnp.asarray(value, jnp.float32) for value in values]).reshape(channels) for values in (mean, std)
    )
    return (images.astype(jnp.float32) / 255.0 - center) / scale


def random_shift(key: jax.Array, images: jax.Array, pixels: int) -> jax.Array:
    """Move each image [b, h, w, c] by up to `pixels` along height and width; what comes in is zero."""
    b, h, w, c = images.shape
    padded = jnp.pad(images, ((0, 0), (pixels, pixels), (pixels, pixels), (0, 0)))
    corners = jax.random.randint(key, (b, 2), 0, 2 * pixels + 1)
    return jax.vmap(lambda image, corner: jax.lax.dynamic_slice(image, (corner[0], corner[1], 0), (h, w, c)))(
        padded, corners
    )


def random_flip(key: jax.Array, images: jax.Array) -> jax.Array:
    """Mirror each image [b, h, w, c] left to right with probability one half."""
    mirrored = jax.random.bernoulli(key, 0.5, (images.shape[0], 1, 1, 1))
    return jnp.where(mirrored, images[:, :, ::-1], images)


def add_noise(key: jax.Array, images: jax.Array, std: float | jax.Array) -> jax.Array:
    """Add Gaussian noise of standard deviation `std` to every pixel."""
    return images + std * jax.random.normal(key, images.shape, images.dtype)


def random_cutout(key: jax.Array, images: jax.Array, side: int | jax.Array) -> jax.Array:
    """Blank a square of `side` pixels around a random pixel of each standardised image [b, h, w, c]; zero is the mean.

    DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout" (2017).
    """
    b, h, w, _ = images.shape
    sides = jnp.full(b, side)
    return jnp.where(random_boxes(key, sides, sides, h, w)[..., None], 0, images)


def random_boxes(key: jax.Array, heights: jax.Array, widths: jax.Array, h: int, w: int) -> jax.Array:
    """Return boxes of [b] heights and widths, each around a random pixel, clipped at the border: bool [b, h, w]."""
    row_key, column_key = jax.random.split(key)
    rows, columns = _intervals(row_key, heights, h), _intervals(column_key, widths, w)
    return rows[:, :, None] & columns[:, None, :]


def _intervals(key: jax.Array, lengths: jax.Array, n: int) -> jax.Array:
    """Return intervals of [b] lengths, each around a random one of n places, clipped: bool [b, n]."""
    centers = jax.random.randint(key, lengths.shape, 0, n)
    distance = jnp.arange(n)[None] - (centers - lengths // 2)[:, None]
    return (distance >= 0) & (distance < lengths[:, None])
