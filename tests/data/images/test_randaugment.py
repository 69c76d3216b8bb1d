import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from research.data.images.randaugment import OPERATIONS, operate, randaugment

KEY = jax.random.key(0)
STRENGTHS = (-1.0, -0.63, 0.0, 0.3, 1.0)
SIGNED = {"rotate", "color", "contrast", "brightness", "sharpness", "shear_x", "shear_y", "translate_x", "translate_y"}
APPLIED = jax.jit(jax.vmap(operate, in_axes=(None, 0, None)))


def picture(c, h=37, w=41, low=20, high=235):
    """A random gradient with noise, which uses only some of the grey levels."""
    generator = np.random.default_rng(c)
    slope = np.linspace(low, high - 40, h)[:, None, None] * generator.uniform(0.8, 1, (1, w, c))
    return (slope + generator.uniform(0, 40, (h, w, c))).astype(np.uint8)


def pillow(name, strength, image):
    """The operation by Pillow."""
    picture, amount = Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image), abs(strength)
    w, h = picture.size

    def affine(*matrix):
        return picture.transform(picture.size, Image.Transform.AFFINE, matrix)

    enhancers = {
        "color": ImageEnhance.Color,
        "contrast": ImageEnhance.Contrast,
        "brightness": ImageEnhance.Brightness,
        "sharpness": ImageEnhance.Sharpness,
    }
    match name:
        case "identity":
            done = picture
        case "autocontrast":
            done = ImageOps.autocontrast(picture)
        case "equalize":
            done = ImageOps.equalize(picture)
        case "rotate":
            done = picture.rotate(30 * strength)
        case "solarize":
            done = ImageOps.solarize(picture, 256 * (1 - amount))
        case "posterize":
            done = ImageOps.posterize(picture, 8 - round(4 * amount))
        case "shear_x":
            done = affine(1, 0.3 * strength, 0, 0, 1, 0)
        case "shear_y":
            done = affine(1, 0, 0, 0.3 * strength, 1, 0)
        case "translate_x":
            done = affine(1, 0, 150 / 331 * strength * w, 0, 1, 0)
        case "translate_y":
            done = affine(1, 0, 0, 0, 1, 150 / 331 * strength * h)
        case _:
            done = enhancers[name](picture).enhance(1 + 0.9 * strength)
    return np.asarray(done).reshape(image.shape)


@pytest.mark.parametrize("c", [1, 3])
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_is_that_of_pillow(name, c):
    image = picture(c)
    found = APPLIED(OPERATIONS.index(name), jnp.array(STRENGTHS), image)
    assert found.dtype == np.uint8
    for strength, got in zip(STRENGTHS, np.asarray(found), strict=True):
        expected = pillow(name, strength, image)
        apart = np.abs(got.astype(int) - expected)
        if name in ("rotate", "shear_x", "shear_y"):  # a place on the line between two pixels may go either way
            assert (apart > 0).mean() < 0.01
        else:
            assert apart.max() <= 1 and (apart > 0).mean() < 0.01  # a level may be rounded either way
        unchanged = name == "identity" or (name == "color" and c == 1)
        if strength == 0 and name not in ("autocontrast", "equalize"):
            np.testing.assert_array_equal(got, image)
        elif not unchanged:
            assert (got != image).mean() > 0.05
    assert np.array_equal(found[0], found[-1]) == (name not in SIGNED or unchanged)


@pytest.mark.parametrize("image", [np.full((17, 19, 2), 77, np.uint8), np.full((1, 2, 3), 3, np.uint8)])
def test_a_flat_image_and_a_tiny_one_have_nothing_to_stretch_or_sharpen(image):
    for name in ("autocontrast", "equalize", "sharpness", "color"):
        np.testing.assert_array_equal(APPLIED(OPERATIONS.index(name), jnp.array([0.7]), image)[0], image)


def test_layers_are_one_after_the_other_and_each_draws_for_every_example():
    b, image = 53, picture(3, 11, 13)
    augment = jax.jit(randaugment, static_argnums=2)
    images = np.stack([image] * b)
    one, two, other = (
        np.asarray(augment(key, images, layers, 9.0)) for key, layers in ((KEY, 1), (KEY, 2), (jax.random.key(1), 1))
    )
    strengths = jnp.array([-0.9, 0.9])
    alone = np.concatenate([np.asarray(APPLIED(number, strengths, image), int) for number in range(len(OPERATIONS))])

    def steps_away(done):
        """How far each image is from the nearest one that a single operation gives; a level may be rounded."""
        return np.abs(done[:, None] - alone[None]).max(axis=(2, 3, 4)).min(axis=1)

    assert steps_away(one).max() <= 1 and len({done.tobytes() for done in one}) > 12
    assert not np.array_equal(one, other) and steps_away(two).max() > 9
    untouched = (one == image).all(axis=(1, 2, 3))  # two layers are then what the second one alone would be
    assert (two[untouched] != image).any() and steps_away(two[untouched]).max() <= 1
    stretched = np.asarray(APPLIED(OPERATIONS.index("autocontrast"), strengths, image))[0]
    for done in np.asarray(augment(KEY, images, 1, 0.0)):
        assert np.array_equal(done, image) or np.array_equal(done, stretched)
