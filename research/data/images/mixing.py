"""Mixing examples in pairs, images and labels alike, as pure functions of a key and a batch.

One permutation of the batch pairs its examples. The share that an example keeps is drawn for every pair alone, as the
formulas of both papers say; the programs of their authors draw one for a whole batch.
"""

from typing import Any

import jax
import jax.numpy as jnp

from research.data.transforms import random_boxes
from research.errors import UsageError
from research.fields import is_static_zero

Alpha = float | jax.Array


def mix(key: jax.Array, batch: dict[str, Any], mixup_alpha: Alpha, cutmix_alpha: Alpha) -> dict[str, Any]:
    """Return a batch with each "image" [b, h, w, c] mixed with another one of the batch.

    "other" [b] int32 is the label mixed in, "share" [b] float32 the weight of "label"; 1 - share is that of "other".
    Shares are of Beta(alpha, alpha). An alpha of zero is off; where both are on, a batch is mixed either way with
    probability 1/2.

    Raises:
        UsageError: the examples have no "label", so an image would be mixed and what it is learned from would not.
    """
    if "label" not in batch:
        raise UsageError('data.mixup and data.cutmix mix examples of one class "label" each: set both to 0')
    images = batch["image"]
    order_key, share_key, box_key, choice_key = jax.random.split(key, 4)
    order = jax.random.permutation(order_key, len(images))
    blended = jax.random.bernoulli(choice_key)
    if is_static_zero(mixup_alpha) or is_static_zero(cutmix_alpha):
        blended = jnp.array(is_static_zero(cutmix_alpha))
    alpha = jnp.where(blended, mixup_alpha, cutmix_alpha)
    drawn = jax.random.beta(share_key, alpha, alpha, (len(images),), jnp.float32)
    ways = mixup(images, images[order], drawn), cutmix(box_key, images, images[order], drawn)
    images, share = jax.tree.map(lambda blend, paste: jnp.where(blended, blend, paste), *ways)
    return {**batch, "image": images, "other": jnp.asarray(batch["label"], jnp.int32)[order], "share": share}


def mixup(images: jax.Array, others: jax.Array, share: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return share * image + (1 - share) * other for shares [b], and the shares.

    Zhang et al., "mixup: beyond empirical risk minimization" (2018, equation 2).
    """
    weight = share[:, None, None, None].astype(images.dtype)
    return weight * images + (1 - weight) * others, share


def cutmix(key: jax.Array, images: jax.Array, others: jax.Array, share: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return images with a box of another one pasted in, of 1 - share of the area [b], and the shares that are left.

    The box lies around a random pixel and is clipped at the border, so what is left is counted. Yun et al., "CutMix:
    regularization strategy to train strong classifiers with localizable features" (2019, equations 1 and 2).
    """
    _, h, w, _ = images.shape
    heights, widths = ((jnp.sqrt(1 - share) * length).astype(jnp.int32) for length in (h, w))
    boxes = random_boxes(key, heights, widths, h, w)  # [b, h, w]
    return jnp.where(boxes[..., None], others, images), 1 - boxes.mean(axis=(1, 2), dtype=jnp.float32)
