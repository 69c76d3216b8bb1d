"""Running averages of batch statistics are part of the state, and exact after an interruption."""

import dataclasses

import chex
import jax
import numpy as np
import pytest

from research.experiment import replace
from research.models import ResNet
from research.training import Interrupted, restore, train


@pytest.fixture(scope="module")
def residual(tiny):
    model = ResNet(blocks=(1, 1), width=3, stem="small", stochastic_depth=0.2, dropout=0.1)
    return replace(tiny, {"model": model, "steps": 6, "batch_size": 61})


@pytest.fixture(scope="module")
def often(options):
    return dataclasses.replace(options, evaluate_every=2, checkpoint_every=4, pictures=False)


@pytest.fixture(scope="module")
def whole(residual, often, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    train(residual, folder, often)
    return folder


@pytest.mark.parametrize("k", [1, 3, 4])
def test_interrupted_equals_uninterrupted(k, residual, often, whole, tmp_path):
    with pytest.raises(Interrupted, match=f"step {k} of 6"):
        train(residual, tmp_path, dataclasses.replace(often, stop_after=k))
    train(residual, tmp_path, often)
    (_, state), (_, expected) = restore(tmp_path), restore(whole)
    chex.assert_trees_all_equal(state, expected)
    assert (tmp_path / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_evaluation_and_saving_leave_them_as_training_made_them(residual, often, whole, tmp_path):
    train(residual, tmp_path, dataclasses.replace(often, evaluate_every=0, checkpoint_every=6))
    (_, state), (_, expected) = restore(tmp_path), restore(whole)
    chex.assert_trees_all_equal(state, expected)
    averages = jax.tree.leaves(state.variables["batch_stats"])
    assert len(averages) == 2 * 6 and set(state.variables) == {"batch_stats"}
    assert all(np.all(np.isfinite(each)) and not np.array_equal(each, np.round(each)) for each in averages)
