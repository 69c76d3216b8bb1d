import json
from pathlib import Path

import numpy as np
import pytest

from research.data import Images, count_duplicates
from research.data.builders import shapes
from research.data.builders.installed import digest


@pytest.fixture(scope="module")
def arrays(data_dir):
    return {split: Images("coloured_shapes").open(split, data_dir).arrays() for split in shapes.SIZES}


def test_splits_are_balanced_and_share_no_image(arrays):
    for split, size in {"train": 4000, "validation": 500, "test": 500}.items():
        image, label = arrays[split]["image"], arrays[split]["label"]
        assert image.shape == (size, 32, 32, 3) and image.dtype == np.uint8
        np.testing.assert_array_equal(np.bincount(label), np.full(10, size // 10))
        assert len(set(label[:20].tolist())) > 5  # shuffled
    counts = count_duplicates({split: map(bytes, array["image"]) for split, array in arrays.items()})
    assert not any(counts["within"].values()) and not any(counts["across"].values())
    assert len(Images("coloured_shapes").class_names()) == 10


def test_the_same_is_drawn_every_time_and_written_down(arrays, data_dir):
    drawn = [shapes.draw(size, np.random.default_rng([0, index])) for index, size in enumerate(shapes.SIZES.values())]
    metadata = json.loads((Path(data_dir) / "coloured_shapes/1.0.0/metadata.json").read_text())
    assert metadata == {
        "source": f"drawn by numpy {np.__version__}",
        "sha256": digest(*(array for split in drawn for array in split)),
    }
    for one, split in zip(drawn, arrays, strict=True):
        assert {*map(bytes, one.images)} == {*map(bytes, arrays[split]["image"])}
    label_of = {bytes(image): label for image, label in zip(drawn[2].images, drawn[2].labels, strict=True)}
    assert [label_of[bytes(image)] for image in arrays["test"]["image"]] == arrays["test"]["label"].tolist()


def test_the_schema_is_that_of_cifar10():
    assert Images("coloured_shapes").spec() == Images("cifar10").spec()


def test_pixels_alone_say_little(arrays):
    """Neither the nearest image nor the nearest mean of a class tells shapes in all colours and places apart."""
    train, test = (arrays[split]["image"].reshape(-1, 3072).astype(np.float32) / 255 for split in ("train", "test"))
    labels, truth = arrays["train"]["label"], arrays["test"]["label"]
    means = np.stack([train[labels == label].mean(0) for label in range(10)])

    def nearest(points):
        return ((points**2).sum(1) - 2 * test @ points.T).argmin(1)

    accuracies = (labels[nearest(train)] == truth).mean(), (nearest(means) == truth).mean()
    assert 0.12 < accuracies[0] < 0.4 and 0.05 < accuracies[1] < 0.4, accuracies


GRID = np.meshgrid(*[np.linspace(-1.2, 1.2, 241)] * 2)


def test_shapes_lie_in_the_unit_disc_and_differ_however_they_are_turned():
    u, v = GRID
    covered = {name: inside(u, v) for name, inside in shapes.SHAPES.items()}
    assert all(np.hypot(u, v)[points].max() <= 1.001 for points in covered.values())
    # Areas in rings around the middle do not change as a shape turns.
    rings = np.digitize(np.hypot(u, v), np.linspace(0, 1, 6))
    profiles = {name: np.bincount(rings[points], minlength=7) * 0.01**2 for name, points in covered.items()}
    names = list(profiles)
    for index, name in enumerate(names):
        for other in names[:index]:
            assert np.abs(profiles[name] - profiles[other]).sum() > 0.05, (name, other)


def test_the_area_of_a_star_is_that_of_a_pentagram():
    """Unit circumradius: ten triangles between the centre, a tip and the inner corner beside it."""
    inner = np.cos(np.deg2rad(72)) / np.cos(np.deg2rad(36))
    area = 10 * 0.5 * inner * np.sin(np.deg2rad(36))
    assert shapes.SHAPES["star"](*GRID).sum() * 0.01**2 == pytest.approx(area, rel=0.01)


def test_shapes_stand_out_and_are_within_the_image():
    generator = np.random.default_rng(0)
    colour, background = shapes._colours(1_009, generator)
    assert np.sqrt(((colour - background) ** 2).sum(-1)).min() > 100  # between two ends that are 110 away
    radius = generator.uniform(*shapes.RADII, (10_007, 1, 1))
    middle = shapes._position(radius, generator)
    assert (middle - radius).min() >= 0 and (middle + radius).max() <= 31
    assert (middle - radius).min() < 0.01 and (middle + radius).max() > 30.99


def test_angles_are_all_around():
    cosine, sine = shapes._rotation(np.random.default_rng(0).uniform(-1, 1, (2, 10_007)))
    np.testing.assert_allclose(cosine**2 + sine**2, 1)
    counts, _ = np.histogram(np.arctan2(sine, cosine), 8, (-np.pi, np.pi))
    assert counts.min() > 0.08 * 10_007
