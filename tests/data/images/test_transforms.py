import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.data import Images
from research.data.transforms import add_noise, random_flip, random_shift, standardize
from research.errors import UsageError

KEY = jax.random.key(0)


def dots(b=67, h=11, w=13, c=2):
    """One bright pixel in the centre of each image."""
    return np.zeros((b, h, w, c), np.uint8) + np.eye(h * w, dtype=np.uint8)[h // 2 * w + w // 2].reshape(h, w, 1) * 200


def pictures(b=67, h=5, w=7, c=3):
    return np.random.default_rng(0).integers(0, 256, (b, h, w, c), np.uint8)


def test_standardize_is_done_per_channel():
    images = pictures()
    out = standardize(jnp.asarray(images), (0.5, 0.25, 0.125), (0.5, 2.0, 4.0))
    expected = np.stack(
        [(images[..., i] / 255 - m) / s for i, (m, s) in enumerate([(0.5, 0.5), (0.25, 2), (0.125, 4)])], -1
    )
    np.testing.assert_allclose(out, expected, rtol=1e-5, atol=1e-6)
    assert out.dtype == jnp.float32
    one = standardize(jnp.array([[[[0], [255]]]], jnp.uint8), (0.5,), (0.5,))
    np.testing.assert_array_equal(one.ravel(), [-1, 1])
    with pytest.raises(UsageError, match="std has 2 values for images of 3 channels"):
        standardize(jnp.asarray(images), (0.5,), (0.5, 0.5))


@pytest.mark.parametrize("pixels", [1, 3])
def test_shift_moves_a_centred_dot_by_at_most_that_many_pixels_and_keeps_its_mass(pixels):
    images = dots()
    out = np.asarray(random_shift(KEY, images, pixels))
    assert out.shape == images.shape and out.dtype == np.uint8
    np.testing.assert_array_equal(out.sum((1, 2)), images.sum((1, 2)))
    rows, columns = (index.reshape(-1, 2)[:, 0] for index in np.nonzero(out)[1:3])
    moves = set(zip((rows - 5).tolist(), (columns - 6).tolist(), strict=True))
    for axis in range(2):
        assert {move[axis] for move in moves} == set(range(-pixels, pixels + 1))  # every distance occurs, no other
    assert any(down != right for down, right in moves)  # the axes draw on their own


def test_flip_is_a_mirror_of_about_half_of_the_images():
    images = pictures()
    out = np.asarray(random_flip(KEY, images))
    mirrored = np.array([np.array_equal(a, b[:, ::-1]) for a, b in zip(out, images, strict=True)])
    kept = np.array([np.array_equal(a, b) for a, b in zip(out, images, strict=True)])
    assert (mirrored ^ kept).all() and 15 < mirrored.sum() < 52
    np.testing.assert_array_equal(random_flip(KEY, out), images)


def test_noise_has_the_asked_standard_deviation():
    noise = np.asarray(add_noise(KEY, jnp.zeros((67, 11, 13, 2)), 0.3))
    assert abs(noise.std() - 0.3) < 0.01 and abs(noise.mean()) < 0.01
    assert not np.array_equal(noise[0], noise[1])


AUGMENTED = Images(mean=(0.5, 0.4, 0.3), std=(0.5,), shift=2, flip=True, noise=0.1)


def batch():
    return {"image": pictures(), "label": np.arange(67), "mask": np.arange(67) < 60}


def test_preprocess_is_a_function_of_the_key_and_touches_only_images():
    first, again, other = (AUGMENTED.preprocess(batch(), jax.random.key(i)) for i in (1, 1, 2))
    np.testing.assert_array_equal(first["image"], again["image"])
    assert not np.array_equal(first["image"], other["image"])
    for name in ("label", "mask"):
        assert first[name] is not None
        np.testing.assert_array_equal(first[name], batch()[name])


def test_without_a_key_nothing_is_augmented():
    plain = Images(mean=AUGMENTED.mean, std=AUGMENTED.std)
    np.testing.assert_array_equal(AUGMENTED.preprocess(batch())["image"], plain.preprocess(batch(), KEY)["image"])


def test_switching_one_augmentation_leaves_the_draws_of_the_others():
    quiet = dataclasses.replace(AUGMENTED, noise=0.0)
    shift_only = dataclasses.replace(AUGMENTED, noise=0.0, flip=False)
    flipped, plain = (np.asarray(value.preprocess(batch(), KEY)["image"]) for value in (quiet, shift_only))
    same = [np.array_equal(a, b) or np.array_equal(a, b[:, ::-1]) for a, b in zip(flipped, plain, strict=True)]
    assert all(same)


def test_what_shifts_in_is_black():
    value = Images(mean=(0.25,), std=(0.5,), shift=3)
    out = value.preprocess({"image": np.full((31, 5, 5, 1), 255, np.uint8)}, KEY)["image"]
    assert set(np.unique(out)) == {np.float32(-0.5), np.float32(1.5)}


def test_float_fields_are_arguments_of_one_program():
    traces = []

    @jax.jit
    def prepare(mean, std, noise, images, key):
        traces.append(None)
        value = dataclasses.replace(AUGMENTED, mean=mean, std=std, noise=noise)
        return value.preprocess({"image": images}, key)["image"]

    for scale in (1.0, 2.0):
        mean, std, noise = (0.5, 0.4 * scale, 0.3), (0.5 * scale,), 0.1 * scale
        value = dataclasses.replace(AUGMENTED, mean=mean, std=std, noise=noise)
        expected = jax.jit(value.preprocess)({"image": pictures()}, KEY)["image"]
        np.testing.assert_allclose(prepare(mean, std, noise, pictures(), KEY), expected, rtol=1e-5, atol=1e-6)
    assert len(traces) == 1


def test_noise_switched_off_costs_nothing():
    def program(value):
        return jax.jit(value.preprocess).lower({"image": pictures()}, KEY).as_text()

    assert "erf_inv" in program(Images(noise=0.1)) and "erf_inv" not in program(Images(noise=0.0))


def test_vmap_over_keys_and_noise_equals_one_run_at_a_time():
    keys, noises = jax.random.split(KEY, 3), jnp.array([0.1, 0.2, 0.3])

    def run(key, noise):
        return dataclasses.replace(AUGMENTED, noise=noise).preprocess({"image": pictures()}, key)["image"]

    together = jax.vmap(run)(keys, noises)
    for i in range(3):
        np.testing.assert_allclose(together[i], run(keys[i], noises[i]), rtol=1e-5, atol=1e-6)
