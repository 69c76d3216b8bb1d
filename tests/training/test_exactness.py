"""Interrupted after any step, every model and every optimizer ends in the very bits of a run left alone."""

import dataclasses
import shutil

import chex
import jax
import pytest

from research.experiment import RunOptions, replace
from research.models import CNN
from research.optimization import Group
from research.training import Interrupted, restore, train
from research.training.loop import open_splits
from tests.families import FAMILIES, QUICK, classes

OPTIONS = RunOptions(log_every=1, evaluate_every=2, checkpoint_every=3, progress="none", pictures=False)
pytestmark = pytest.mark.usefixtures("quick_compilation")


def assert_exact_after_every_step(experiment, options, folder, changed=None):
    """Stop after each step in turn and go on, from there with `changed` options, to the end of a run left alone."""
    splits = open_splits(experiment, options)
    train(experiment, folder / "whole", options, splits)
    _, expected = restore(folder / "whole")
    _, best = restore(folder / "whole", "best")
    journal = (folder / "whole" / "metrics.jsonl").read_bytes()
    parts = folder / "parts"
    for k in range(1, experiment.steps):
        # It has come here in as many parts, and goes on from here in one.
        with pytest.raises(Interrupted, match=f"step {k} of"):
            train(experiment, parts, dataclasses.replace(options, stop_after=k), splits)
        rest = shutil.copytree(parts, folder / str(k))
        train(experiment, rest, changed or options, splits)
        _, state = restore(rest)
        assert int(state.step) == experiment.steps and len(jax.tree.leaves(state)) == len(jax.tree.leaves(expected))
        chex.assert_trees_all_equal(state, expected)
        chex.assert_trees_all_equal(restore(rest, "best")[1], best)
        assert (rest / "metrics.jsonl").read_bytes() == journal
        shutil.rmtree(rest)


def test_every_model_is_here():
    assert {type(experiment.model) for experiment in FAMILIES.values()} == classes()


@pytest.mark.fault("F1")
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FAMILIES]
)
def test_every_family(name, data_dir, tmp_path):
    assert_exact_after_every_step(FAMILIES[name], dataclasses.replace(OPTIONS, data_dir=data_dir), tmp_path)


AUGMENTED = {"data.cutout": 3, "data.mixup": 0.2, "data.cutmix": 0.2, "data.randaugment_layers": 1}
TINY = replace(FAMILIES["CNN"], {"model": CNN(channels=(3,), dense=(5,), dropout=0.25), "steps": 3})
KEPT = {
    **{algorithm: {"optimizer.algorithm": algorithm} for algorithm in ("sgd", "momentum", "nesterov", "adagrad")},
    "adam": {"optimizer.algorithm": "adam", "optimizer.weight_decay": 0.0, "optimizer.l1": 0.01, "optimizer.l2": 0.01},
    "neither average nor clipping": {"optimizer.ema": 0.0, "optimizer.clip_norm": 0.0},
    "frozen parameters": {"optimizer.groups": (Group(("block_0",), 0.0), Group(("logits",), 0.5))},
    "augmentation": AUGMENTED,
    "accumulation": {"accumulation": 3, "batch_size": 21},
    "bfloat16": {"model.dtype": "bfloat16"},
    "skipped updates": {"nonfinite": "skip"},
    "losses for spikes": {"spike": 6.0},
}


@pytest.mark.slow
@pytest.mark.fault("F7", "F24")
@pytest.mark.parametrize("kept", KEPT)
def test_every_state_of_an_optimizer(kept, data_dir, tmp_path):
    experiment = replace(TINY, KEPT[kept])
    assert_exact_after_every_step(experiment, dataclasses.replace(OPTIONS, data_dir=data_dir), tmp_path)


@pytest.mark.slow
@pytest.mark.fault("F10")
@pytest.mark.parametrize("first", ["device", "ram", "stream"])
def test_examples_from_elsewhere_after_a_resume(first, data_dir, tmp_path, monkeypatch):
    """From memory, the device or read ahead, by other threads and another number of batches."""
    options = dataclasses.replace(OPTIONS, data_dir=data_dir, residency=first)
    others = {"device": "stream", "ram": "device", "stream": "ram"}
    if first == "device":
        monkeypatch.setattr("research.data.stream._THREADS", 3)
        monkeypatch.setattr("research.data.stream._AHEAD", 2)
    changed = dataclasses.replace(options, residency=others[first])
    assert_exact_after_every_step(TINY, options, tmp_path, changed)
