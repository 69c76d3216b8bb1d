import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from research.data.images.mixing import cutmix, mix, mixup
from research.errors import UsageError

KEY = jax.random.key(0)
B, H, W, C = 67, 41, 43, 2
IMAGES = np.random.default_rng(0).normal(size=(B, H, W, C)).astype(np.float32)
OTHERS = np.random.default_rng(1).normal(size=(B, H, W, C)).astype(np.float32)
LABEL = np.arange(B) * 3
BATCH = {"image": jnp.asarray(IMAGES), "label": jnp.asarray(LABEL), "mask": jnp.arange(B) < 60}


@functools.cache
def mixed_with(mixup_alpha, cutmix_alpha):
    """A compiled function of a key."""
    return jax.jit(lambda key: mix(key, BATCH, mixup_alpha, cutmix_alpha))


SHARE = np.random.default_rng(2).uniform(size=B).astype(np.float32)


def test_mixup_by_hand():
    mixed, share = mixup(IMAGES, OTHERS, SHARE)
    np.testing.assert_array_equal(share, SHARE)
    weight = SHARE.astype(np.float64)[:, None, None, None]
    np.testing.assert_allclose(mixed, weight * IMAGES + (1 - weight) * OTHERS, rtol=1e-4, atol=1e-5)


def test_cutmix_pastes_a_box_and_the_share_is_the_area_that_is_left():
    mixed, share = (np.asarray(part) for part in jax.jit(cutmix)(KEY, IMAGES, OTHERS, SHARE))
    own, pasted = (mixed == IMAGES).all(axis=-1), (mixed == OTHERS).all(axis=-1)
    assert (own ^ pasted).all()
    np.testing.assert_allclose(share, own.mean(axis=(1, 2)), rtol=1e-6, atol=1e-7)
    rows, columns = pasted.any(axis=2), pasted.any(axis=1)
    np.testing.assert_array_equal(pasted, rows[:, :, None] & columns[:, None])
    for line in (rows, columns):  # without a gap
        assert (np.abs(np.diff(line.astype(int), prepend=0, append=0)).sum(axis=1) <= 2).all()
    clipped = rows[:, [0, -1]].any(axis=1) | columns[:, [0, -1]].any(axis=1)
    assert 5 < clipped.sum() < B - 5
    np.testing.assert_allclose(share[~clipped], SHARE[~clipped], atol=1 / H + 1 / W)  # sides are whole pixels
    assert (share >= SHARE - 1e-6).all() and (share[clipped] > SHARE[clipped] + 0.1).any()


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_share_of_one_keeps_the_image_and_of_none_the_other_where_no_border_clips(share):
    shares = jnp.full(B, share)
    np.testing.assert_array_equal(mixup(IMAGES, OTHERS, shares)[0], IMAGES if share else OTHERS)
    mixed, left = cutmix(KEY, IMAGES, OTHERS, shares)
    if share:
        np.testing.assert_array_equal(mixed, IMAGES)
    np.testing.assert_allclose(left, (np.asarray(mixed) == IMAGES).all(axis=-1).mean(axis=(1, 2)), atol=1e-6)


def test_shares_are_those_of_a_beta_distribution():
    shares = jax.jit(lambda key, alpha: mix(key, BATCH, alpha, 0.0)["share"])
    for alpha in (0.2, 1.0, 3.0):
        assert stats.kstest(np.asarray(shares(KEY, alpha)), stats.beta(alpha, alpha).cdf).pvalue > 0.01


@pytest.mark.parametrize("alphas", [(1.0, 0.0), (0.0, 1.0), (1.0, 1.0)])
def test_images_and_labels_are_paired_by_one_permutation(alphas):
    mixed = mixed_with(*alphas)(KEY)
    assert mixed["other"].dtype == jnp.int32 and mixed["share"].dtype == jnp.float32
    for entry in ("label", "mask"):
        np.testing.assert_array_equal(mixed[entry], BATCH[entry])
    order = np.asarray(mixed["other"]) // 3
    np.testing.assert_array_equal(np.sort(order), np.arange(B))
    weight = np.asarray(mixed["share"])[:, None, None, None]
    is_blend = np.allclose(mixed["image"], weight * IMAGES + (1 - weight) * IMAGES[order], atol=1e-5)
    is_pasted = ((mixed["image"] == IMAGES) | (mixed["image"] == IMAGES[order])).all()
    assert is_blend != bool(is_pasted)
    assert is_blend == bool(alphas[0]) or all(alphas)


def test_with_both_on_a_batch_takes_one_of_them_as_it_is_alone():
    taken = []
    for key in jax.random.split(KEY, 23):
        both, blended, pasted = (mixed_with(*alphas)(key)["image"] for alphas in ((1.0, 1.0), (1.0, 0.0), (0.0, 1.0)))
        as_blended = np.allclose(both, blended, atol=1e-6)
        assert as_blended != np.array_equal(both, pasted)
        taken.append(as_blended)
    assert 5 < sum(taken) < 18


def test_examples_without_a_class_are_refused():
    for entry in ("labels", "target"):
        with pytest.raises(UsageError, match="data.mixup and data.cutmix mix examples of one class"):
            mix(KEY, {"image": BATCH["image"], entry: jnp.zeros((B, 5))}, 1.0, 0.0)


@pytest.mark.parametrize("way", [mixup, functools.partial(cutmix, KEY)])
def test_half_precision_stays_half(way):
    image, share = way(*(jnp.asarray(images, jnp.bfloat16) for images in (IMAGES, OTHERS)), jnp.asarray(SHARE))
    assert image.dtype == jnp.bfloat16 and share.dtype == jnp.float32
