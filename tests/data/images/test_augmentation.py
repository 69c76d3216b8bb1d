"""All augmentations of images together: what they leave alone, what they cost, and the picture of them."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from research.data import Images
from research.data.images import images
from research.data.images.contact_sheet import draw_contact_sheet
from research.data.transforms import add_noise, random_cutout, random_flip, random_shift, standardize
from research.experiment import Experiment, join, split
from research.models import MLP
from research.optimization import Optimizer
from research.tasks import Classification

KEY = jax.random.key(0)
ON = {"shift": 2, "flip": True, "noise": 0.1, "randaugment_layers": 2, "cutout": 3, "mixup": 0.4, "cutmix": 1.0}
OFF = {"shift": 0, "flip": False, "noise": 0.0, "randaugment_layers": 0, "cutout": 0, "mixup": 0.0, "cutmix": 0.0}
ALL = Images(mean=(0.5, 0.4, 0.3), std=(0.5,), **ON)
B, H, W, C = 29, 11, 13, 3


def batch(b=B):
    pixels = np.random.default_rng(0).integers(0, 256, (b, H, W, C), np.uint8)
    return {"image": pixels, "label": np.arange(b, dtype=np.int32) % 10}


def test_shift_flip_and_noise_draw_what_they_always_drew():
    """The experiments that were measured before the others were added are the same to the last bit."""
    shift_key, flip_key, noise_key = jax.random.split(KEY, 3)

    @jax.jit
    def expected(pixels):
        moved = random_flip(flip_key, random_shift(shift_key, pixels, 2))
        return add_noise(noise_key, standardize(moved, ALL.mean, ALL.std), 0.1)

    only = {**OFF, "shift": 2, "flip": True, "noise": 0.1}
    found = jax.jit(dataclasses.replace(ALL, **only).preprocess)(batch(), KEY)["image"]
    np.testing.assert_array_equal(found, expected(batch()["image"]))


def keys_of(monkeypatch, **changes):
    """The key that each augmentation is given, by name."""
    keys = {}

    def watched(name):
        def draw(key, content, *_):
            keys[name] = tuple(jax.random.key_data(key).tolist())
            return content

        return draw

    with monkeypatch.context() as patch:
        for name in ("random_shift", "random_flip", "add_noise", "randaugment", "random_cutout", "mix"):
            patch.setattr(images, name, watched(name))
        dataclasses.replace(ALL, **changes).preprocess(batch(), KEY)
    return keys


def test_each_augmentation_has_a_key_of_its_own_whatever_else_is_on(monkeypatch):
    together = keys_of(monkeypatch)
    assert len(set(together.values())) == len(together) == 6
    alone = [keys_of(monkeypatch, **{**OFF, name: on}) for name, on in ON.items()]
    assert all(len(key) == 1 for key in alone)
    assert {name: key for one in alone for name, key in one.items()} == together


def test_a_cutout_is_a_square_of_zeros_and_the_rest_stays():
    whole = 1 + np.abs(np.random.default_rng(0).normal(size=(67, H, W, 2)))
    for side in (0, 1, 4, 5, 99):
        out = np.asarray(jax.jit(random_cutout)(KEY, whole, side))
        blank = (out == 0).all(axis=-1)
        np.testing.assert_array_equal(out[~blank], whole.astype(np.float32)[~blank])
        lines = blank.any(axis=2), blank.any(axis=1)
        np.testing.assert_array_equal(blank, lines[0][:, :, None] & lines[1][:, None, :])
        heights, widths = (line.sum(axis=1) for line in lines)
        assert heights.max() == min(side, H) and widths.max() == min(side, W)
        if side == 4:
            assert heights.min() == widths.min() == 2  # around the first pixel; around the last one, two and itself
            starts = lines[0].argmax(axis=1)[heights == 4]
            assert set(starts.tolist()) == set(range(H - 3))


def test_it_is_a_function_of_the_key_and_of_the_key_alone():
    prepare = jax.jit(ALL.preprocess)
    one, again, other = (prepare(batch(), jax.random.key(number)) for number in (0, 0, 1))
    for entry in ("image", "other", "share"):
        np.testing.assert_array_equal(one[entry], again[entry])
        assert not np.array_equal(one[entry], other[entry])
    assert set(ALL.preprocess(batch())) == {"image", "label"}


EXPERIMENT = Experiment(
    MLP((7,)), Classification(), dataclasses.replace(ALL, name="digits"), Optimizer(), steps=3, batch_size=B
)


def test_its_numbers_are_arguments_of_one_program_and_map():
    changes = [{}, {"cutout": 5, "mixup": 1.5, "cutmix": 0.3, "randaugment_magnitude": 2.0, "noise": 0.3}]
    experiments = [dataclasses.replace(EXPERIMENT, data=dataclasses.replace(ALL, **change)) for change in changes]
    programs, arguments = zip(*map(split, experiments), strict=True)
    assert programs[0] == programs[1]

    def run(numbers, key):
        return join(programs[0], numbers).data.preprocess(batch(), key)

    compiled = jax.jit(run)
    alone = [compiled(numbers, KEY) for numbers in arguments]
    assert compiled._cache_size() == 1
    stacked = jax.tree.map(lambda *leaves: jnp.stack([jnp.asarray(leaf) for leaf in leaves]), *arguments)
    together = jax.jit(jax.vmap(run, in_axes=(0, None)))(stacked, KEY)
    for index, expected in enumerate(alone):
        for entry in ("image", "other", "share"):
            np.testing.assert_allclose(together[entry][index], expected[entry], rtol=1e-5, atol=1e-5)
    assert not np.array_equal(alone[0]["image"], alone[1]["image"])


def test_it_lowers_for_every_platform():
    traced = jax.jit(ALL.preprocess).trace(batch(), KEY)
    for platform in ("cpu", "cuda", "tpu"):
        assert traced.lower(lowering_platforms=(platform,)).as_text()


def test_what_is_off_is_not_in_the_program():
    text = jax.jit(dataclasses.replace(ALL, **OFF).preprocess).lower(batch(), KEY).as_text()
    assert "threefry" not in text and "gather" not in text


def test_the_contact_sheet_shows_examples_as_they_are_and_as_the_steps_make_them(tmp_path):
    data = Images("mnist5k", mean=(0.25,), std=(0.5,), cutout=9)
    raw = {"image": np.full((11, 17, 19, 1), 255, np.uint8), "label": np.arange(11) % 10}
    asked, prepare = [], jax.jit(data.preprocess)

    def augmented(step):
        asked.append(step)
        return prepare(raw, jax.random.key(step))

    drawn = data.illustrate(raw, augmented, tmp_path)
    assert drawn.keys() == {"augmentation.png"} and asked == list(range(7))
    grey = np.asarray(Image.open(tmp_path / "augmentation.png").convert("L"))
    square = np.abs(grey.astype(int) - 64) <= 1  # the mean
    assert square.mean() > 0.05 and square[:, : grey.shape[1] // 9].sum() < 99  # the first column is whole
    assert Images("mnist5k").illustrate(raw, augmented, tmp_path / "nowhere") == {}


def test_mixed_examples_are_shown_with_the_shares_of_their_labels(tmp_path, monkeypatch):
    from matplotlib.axes import Axes

    said = []
    monkeypatch.setattr(Axes, "text", lambda self, x, y, text, **style: said.append(text))
    batches = {
        "as it is": batch(3),
        "step 0": {**batch(3), "other": np.array([2, 1, 0]), "share": np.array([1, 0.75, 0.2])},
    }
    draw_contact_sheet(batches, (0.5,), (0.5,), ("cat", "dog", "$bird"), tmp_path / "sheet.png")
    assert said == ["cat", "dog", "$bird", "100% cat\n0% $bird", "75% dog\n25% dog", "20% $bird\n80% cat"]
