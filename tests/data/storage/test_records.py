import numpy as np
import pytest

from research.data import Images
from research.data.storage.records import Records
from research.errors import UsageError
from research.experiment import Experiment
from research.models import MLP
from research.optimization import Optimizer
from research.tasks import Classification
from research.training.evaluation import open_split


class Source(list):
    """Examples that are read one by one, as those of a prepared dataset are."""

    def __getitems__(self, keys):
        return [self[key] for key in keys]


@pytest.mark.fault("F40")
def test_a_label_that_there_is_not_is_named_when_it_is_read():
    labels = [0, 2, 1, 3, 2, -1]
    source = Source({"label": label, "image": 99} for label in labels)
    spec = Records.of({"label": np.zeros(1, np.int32), "image": np.zeros(1, np.uint8)}).spec
    records = Records(source, spec).within({"label": (0, 2), "none": (0, 0)})
    assert records[np.array([2, 0, 1])]["label"].tolist() == [1, 0, 2]
    with pytest.raises(UsageError, match='example 3 of a split has 3 as its "label", .* from 0 to 2'):
        records[np.array([4, 3])]
    with pytest.raises(UsageError, match='example 5 of a split has -1 as its "label"'):
        records[np.array([5])]
    with pytest.raises(UsageError, match="example 3"):
        records.arrays()


def test_what_is_in_memory_is_looked_at_at_once():
    several = Records.of({"labels": np.array([[0, 1], [-1, 1], [1, 2]])})
    with pytest.raises(UsageError, match="example 2 of a split has 2"):
        several.within({"labels": (-1, 1)})
    assert len(several.within({"labels": (-1, 2)})) == 3


def test_a_split_of_an_experiment_has_the_labels_that_its_data_say(monkeypatch):
    """A label of -1 counted as the last class, and one past the last made the loss NaN."""
    opened = Records.of({"label": np.array([0, 9, 10]), "image": np.zeros((3, 8, 8, 1), np.uint8)})
    monkeypatch.setattr(Images, "open", lambda *_: opened)
    optimizer = Optimizer("sgd", learning_rate=1.0)
    experiment = Experiment(MLP((3,)), Classification(), Images("digits"), optimizer, steps=1, batch_size=1)
    with pytest.raises(UsageError, match='example 2 of a split has 10 as its "label", .* from 0 to 9'):
        open_split(experiment, "train", None)
