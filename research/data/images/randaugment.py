"""RandAugment: Cubuk et al., "RandAugment: practical automated data augmentation with a reduced search space" (2020).

Each layer draws one of fourteen operations for every example. An operation is a movement of pixels, a table of grey
levels, or a blend with another image. So a layer is one gather, one table look-up and one blend, each of which does
nothing to an example that drew an operation of another kind: no example pays for all fourteen. Grey levels are those of
Pillow, in whole numbers from 0 to 255. The strongest settings are AutoAugment's (Cubuk et al., 2019, table 6), in the
direction in which a greater magnitude changes an image more.
"""

import math
from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

OPERATIONS = (
    "identity",
    "autocontrast",
    "equalize",
    "rotate",
    "solarize",
    "color",
    "posterize",
    "contrast",
    "brightness",
    "sharpness",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
)

STRONGEST = 10.0
"""The magnitude of AutoAugment's strongest settings."""


def randaugment(key: jax.Array, images: jax.Array, layers: int, magnitude: float | jax.Array) -> jax.Array:
    """Apply `layers` random operations one after the other to each image, uint8 [b, h, w, c].

    Operations that have a direction take either one with probability 1/2.
    """

    def layer(index: jax.Array, images: jax.Array) -> jax.Array:
        """Apply one operation to each image."""
        operation_key, direction_key = jax.random.split(jax.random.fold_in(key, index))
        operations = jax.random.randint(operation_key, (len(images),), 0, len(OPERATIONS))
        directions = jax.random.rademacher(direction_key, (len(images),), jnp.float32)
        return jax.vmap(operate)(operations, magnitude / STRONGEST * directions, images)

    return jax.lax.fori_loop(0, layers, layer, images)


def operate(operation: jax.Array, strength: jax.Array, image: jax.Array) -> jax.Array:
    """Return an image [h, w, c] after the operation of this number; strength is from -1 to 1, its sign a direction.

    At strength 0 all operations but autocontrast and equalize leave the image as it is.
    """
    pixels = _moved(operation, strength, image).astype(jnp.int32)
    channels = jnp.arange(pixels.shape[-1])[None, None]
    pixels = _table(operation, jnp.abs(strength), pixels)[channels, pixels]  # [h, w, c]
    return _blended(operation, strength, pixels).astype(jnp.uint8)


def _moved(operation: jax.Array, strength: jax.Array, image: jax.Array) -> jax.Array:
    """Return each pixel from where the operation says it comes from, the nearest one; outside of the image is black."""

    def drawn(name: str, greatest: float) -> jax.Array:
        """Return how far to go, 0 where another operation was drawn."""
        return _select(operation, {name: greatest * strength}, 0.0)

    h, w, _ = image.shape
    x, y = jnp.meshgrid(jnp.arange(w) + 0.5, jnp.arange(h) + 0.5)  # the middles of pixels, [h, w] each
    angle = drawn("rotate", math.pi / 6)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    right, down = x - w / 2, y - h / 2
    from_x = cos * right - sin * down + w / 2 + drawn("shear_x", 0.3) * y + drawn("translate_x", 150 / 331 * w)
    from_y = sin * right + cos * down + h / 2 + drawn("shear_y", 0.3) * x + drawn("translate_y", 150 / 331 * h)
    column, row = (jnp.floor(place).astype(jnp.int32) for place in (from_x, from_y))
    inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
    return jnp.where(inside[..., None], image[row.clip(0, h - 1), column.clip(0, w - 1)], 0)


def _table(operation: jax.Array, strength: jax.Array, pixels: jax.Array) -> jax.Array:
    """Return what each grey level of each channel becomes, [c, 256]."""
    h, w, c = pixels.shape
    levels = jnp.arange(256)[None]
    channels = jnp.broadcast_to(jnp.arange(c), (h, w, c))
    counts = jnp.zeros((c, 256), jnp.int32).at[channels, pixels].add(1)
    kept_bits = 8 - jnp.round(4 * strength).astype(jnp.int32)
    tables = {
        "autocontrast": _stretched(levels, counts),
        "equalize": _equalized(levels, counts),
        "solarize": jnp.where(levels < 256 * (1 - strength), levels, 255 - levels),
        "posterize": (levels >> (8 - kept_bits)) << (8 - kept_bits),
    }
    return _select(operation, tables, jnp.broadcast_to(levels, (c, 256)))


def _stretched(levels: jax.Array, counts: jax.Array) -> jax.Array:
    """Return the table that takes the darkest level to 0 and the brightest to 255; of a single level, no change."""
    found = counts > 0
    low = found.argmax(axis=1, keepdims=True)
    high = 255 - found[:, ::-1].argmax(axis=1, keepdims=True)
    return jnp.where(high > low, ((levels - low) * 255 // jnp.maximum(high - low, 1)).clip(0, 255), levels)


def _equalized(levels: jax.Array, counts: jax.Array) -> jax.Array:
    """Return the table that makes levels equally frequent, as Pillow does; of fewer than 255 pixels, no change."""
    brightest = 255 - (counts > 0)[:, ::-1].argmax(axis=1, keepdims=True)
    step = (counts.sum(axis=1, keepdims=True) - jnp.take_along_axis(counts, brightest, axis=1)) // 255  # [c, 1]
    below = counts.cumsum(axis=1) - counts
    return jnp.where(step > 0, ((step // 2 + below) // jnp.maximum(step, 1)).clip(0, 255), levels)


def _blended(operation: jax.Array, strength: jax.Array, pixels: jax.Array) -> jax.Array:
    """Return the image between, or beyond, it and the image without what the operation strengthens."""
    grey = _grey(pixels)  # [h, w, 1]
    average = (2 * grey.sum() + grey.size) // (2 * grey.size)
    without: dict[str, ArrayLike] = {"color": grey, "contrast": average, "brightness": 0, "sharpness": _smooth(pixels)}
    other = _select(operation, without, pixels)
    blend = other + (1 + 0.9 * strength) * (pixels - other)
    return jnp.floor(blend.clip(0, 255))


def _grey(pixels: jax.Array) -> jax.Array:
    """Return the luma of red, green and blue (ITU-R BT.601), the mean of any other channels: [h, w, 1]."""
    if pixels.shape[-1] != 3:
        return pixels.sum(axis=-1, keepdims=True) // pixels.shape[-1]
    weighted = pixels * jnp.array([19595, 38470, 7471])[None, None]
    return (weighted.sum(axis=-1, keepdims=True) + 2**15) >> 16


def _smooth(pixels: jax.Array) -> jax.Array:
    """Return the mean of 3 x 3 pixels, the middle one counted five times; the border stays as it is."""
    h, w, _ = pixels.shape
    around = sum(pixels[i : i + h - 2, j : j + w - 2] for i in range(3) for j in range(3))
    total = around + 4 * pixels[1:-1, 1:-1]
    return pixels.at[1:-1, 1:-1].set((2 * total + 13) // 26)  # rounded


def _select(operation: jax.Array, choices: Mapping[str, ArrayLike], otherwise: ArrayLike) -> jax.Array:
    """Return the choice of the operation drawn, `otherwise` where it has none."""
    chosen = jnp.asarray(otherwise)
    for name, choice in choices.items():
        chosen = jnp.where(operation == OPERATIONS.index(name), choice, chosen)
    return chosen
