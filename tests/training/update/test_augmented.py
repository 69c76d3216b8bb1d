"""Runs with every augmentation on: resumed exactly, drawn, and refused where labels cannot be mixed."""

import dataclasses

import chex
import jax
import numpy as np
import pytest

from research.data import Batches
from research.errors import UsageError
from research.experiment import replace
from research.tasks import Classification
from research.training import Interrupted, check, restore, train
from research.training.display.illustration import illustrate_data
from research.training.update.state import AUGMENTATION, stream

ON = {"flip": True, "randaugment_layers": 1, "cutout": 3, "mixup": 0.4, "cutmix": 1.0}


@pytest.fixture(scope="module")
def augmented(tiny):
    return replace(tiny, {"steps": 4, "batch_size": 31, **{f"data.{name}": value for name, value in ON.items()}})


def test_interrupted_equals_uninterrupted_and_the_picture_is_there(augmented, options, tmp_path):
    result = train(augmented, tmp_path / "whole", dataclasses.replace(options, pictures=True))
    assert result.illustrations["augmentation.png"].startswith("training examples")
    assert (tmp_path / "whole" / "augmentation.png").stat().st_size > 10_000
    with pytest.raises(Interrupted):
        train(augmented, tmp_path / "parts", dataclasses.replace(options, stop_after=2))
    train(augmented, tmp_path / "parts", options)
    chex.assert_trees_all_equal(restore(tmp_path / "parts")[1], restore(tmp_path / "whole")[1])
    assert len({(tmp_path / part / "metrics.jsonl").read_bytes() for part in ("parts", "whole")}) == 1


def test_the_picture_is_of_the_first_batch_with_the_keys_of_the_run(tiny, data_dir, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(type(tiny.data), "illustrate", lambda self, raw, at, folder: seen.append((raw, at(2))) or {})
    records = tiny.data.open("train", data_dir)
    assert illustrate_data(tiny, records, tmp_path) == {}
    ((raw, third),) = seen
    first_batch = Batches(records, tiny.batch_size, tiny.seed).batch_at(0)
    chex.assert_trees_all_equal(raw, first_batch)
    key = stream(jax.random.key(tiny.seed), AUGMENTATION, 2)
    np.testing.assert_allclose(third["image"], jax.jit(tiny.data.preprocess)(first_batch, key)["image"], atol=1e-5)


def test_a_task_that_would_learn_mixed_examples_from_one_label_is_refused(augmented):
    class Deaf(Classification):
        """Does not read the second label."""

        mixes = False

    check(augmented)
    deaf = dataclasses.replace(augmented, task=Deaf())
    with pytest.raises(UsageError, match="Deaf does not know the labels of mixed examples: set data.mixup"):
        check(deaf)
    check(replace(deaf, {"data.mixup": 0.0, "data.cutmix": 0.0}))
