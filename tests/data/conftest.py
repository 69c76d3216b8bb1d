import io
import socket

import numpy as np
import pytest

CATALOGUE = {
    "mnist": (28, 28, 1),
    "fashion_mnist": (28, 28, 1),
    "cifar10": (32, 32, 3),
    "cifar100": (32, 32, 3),
    "svhn_cropped": (32, 32, 3),
    "imagenette": (None, None, 3),
}
SIZES = {"train": 41, "test": 17}


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory):
    """A folder with random images under the names of catalogue datasets, and the images by dataset and split."""
    folder = str(tmp_path_factory.mktemp("catalogue"))
    return folder, {name: prepare_random(name, shape, folder) for name, shape in CATALOGUE.items()}


@pytest.fixture
def offline(monkeypatch):
    """Every attempt to reach the network fails, and is counted."""
    attempts = []

    def refuse(*arguments, **options):
        attempts.append(arguments)
        raise OSError("the test has no network")

    for name in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    return attempts


def random_image(generator, shape):
    """Return random pixels, of a random size where the shape has None."""
    return generator.integers(0, 256, [side or generator.integers(5, 20) for side in shape], np.uint8)


def prepare_random(name, shape, folder):
    """Prepare random examples through the real catalogue class, as PNG, and return them."""
    import tensorflow_datasets as tfds
    from PIL import Image

    generator = np.random.default_rng(0)
    examples = {
        split: ([random_image(generator, shape) for _ in range(n)], generator.integers(0, 10, n))
        for split, n in SIZES.items()
    }

    def png(image):
        file = io.BytesIO()
        Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(file, "PNG")
        file.seek(0)
        return file

    def generate(builder, split):
        for index, (image, label) in enumerate(zip(*examples[split], strict=True)):
            extra = {"id": f"{split}_{index}", "coarse_label": 0, "file_name": "x"}
            extra = {name: value for name, value in extra.items() if name in builder.info.features}
            yield f"{split}{index}", {"image": png(image), "label": int(label), **extra}

    real = tfds.builder_cls(name)
    body = {
        "name": name,
        "pkg_dir_path": real.pkg_dir_path,
        "__module__": real.__module__,
        "_split_generators": lambda builder, downloads: {split: generate(builder, split) for split in SIZES},
        "_generate_examples": generate,
    }
    fake = type(real.__name__, (real,), body, skip_registration=True)
    fake(data_dir=folder, file_format="array_record").download_and_prepare()
    return examples
