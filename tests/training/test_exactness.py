"""Interrupted after any step, a run with any state of an optimizer comes to the very bits of one left alone."""

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
from research.training.update.shapes import abstract_state
from tests.families import FAMILIES

OPTIONS = RunOptions(log_every=1, evaluate_every=2, checkpoint_every=3, progress="none", pictures=False)


class LeftAlone:
    """A run that nothing disturbs, and what the same run must come to whatever happens to it."""

    def __init__(self, experiment, options, folder):
        self.experiment, self.options, self.folder = experiment, options, folder
        self.splits = open_splits(experiment, options)
        self.train(folder)
        self.states = {kind: restore(folder, kind)[1] for kind in ("latest", "best")}
        assert int(self.states["latest"].step) == experiment.steps
        self.journal = (folder / "metrics.jsonl").read_bytes()

    def train(self, folder, **changes):
        """Train in another folder, with some other options."""
        train(self.experiment, folder, dataclasses.replace(self.options, **changes), self.splits)

    def stop(self, folder, step):
        """Resume in a folder and stop after a step; the run continues from a copy, which is returned."""
        with pytest.raises(Interrupted, match=f"step {step} of"):
            self.train(folder, stop_after=step)
        return shutil.copytree(folder, folder.with_name(f"{folder.name} {step}"))

    def assert_same_end(self, folder, **changes):
        """Resume in a folder: to every bit of the last and the best state, and every byte of the journal."""
        self.train(folder, **changes)
        for kind, expected in self.states.items():
            _, state = restore(folder, kind)
            assert len(jax.tree.leaves(state)) == len(jax.tree.leaves(expected))
            chex.assert_trees_all_equal(state, expected)
        assert (folder / "metrics.jsonl").read_bytes() == self.journal


def assert_exact_after_every_step(experiment, options, folder, **changes):
    """Stop after each step in turn and resume, from there with other options, to the end of a run left alone."""
    alone = LeftAlone(experiment, options, folder / "whole")
    for step in range(1, experiment.steps):
        # It has come here in as many parts, and resumes from here in one.
        alone.assert_same_end(alone.stop(folder / "parts", step), **changes)


AUGMENTED = {"data.cutout": 3, "data.mixup": 0.2, "data.cutmix": 0.2, "data.randaugment_layers": 1}
TINY = replace(FAMILIES["CNN"], {"model": CNN(channels=(3,), dense=(5,), dropout=0.25), "steps": 3})
KEPT = {
    "sgd, neither average nor clipping": {
        "optimizer.algorithm": "sgd",
        "optimizer.ema": 0.0,
        "optimizer.clip_norm": 0.0,
    },
    "momentum, frozen parameters": {
        "optimizer.algorithm": "momentum",
        "optimizer.groups": (Group(("block_0",), 0.0), Group(("logits",), 0.5)),
    },
    "adagrad, accumulation": {"optimizer.algorithm": "adagrad", "accumulation": 3, "batch_size": 21},
    "adam, skipped updates, losses for spikes": {
        "optimizer.algorithm": "adam",
        "optimizer.weight_decay": 0.0,
        "optimizer.l1": 0.01,
        "optimizer.l2": 0.01,
        "safety.nonfinite": "skip",
        "safety.spike": 6.0,
    },
    "augmentation": AUGMENTED,
}
"""Several in one run, as each is a part of its own: what Nesterov's momentum keeps is what momentum keeps."""


@pytest.mark.slow
@pytest.mark.fault("F7")
@pytest.mark.parametrize("kept", KEPT)
def test_every_state_of_an_optimizer(kept, data_dir, tmp_path):
    experiment = replace(TINY, KEPT[kept])
    assert_exact_after_every_step(experiment, dataclasses.replace(OPTIONS, data_dir=data_dir), tmp_path)


@pytest.mark.slow
@pytest.mark.fault("F24")
def test_a_run_in_bfloat16(data_dir, tmp_path):
    """Whatever the model: its state is float32 as ever, and bfloat16 is nowhere but within a step."""
    experiment = replace(TINY, {"model.dtype": "bfloat16"})
    assert {leaf.dtype.name for leaf in jax.tree.leaves(abstract_state(experiment).params)} == {"float32"}
    assert_exact_after_every_step(experiment, dataclasses.replace(OPTIONS, data_dir=data_dir), tmp_path)


@pytest.mark.slow
@pytest.mark.fault("F10")
@pytest.mark.parametrize("first", ["device", "ram", "stream"])
def test_examples_from_elsewhere_after_a_resume(first, data_dir, tmp_path, monkeypatch):
    """From memory, the device or read ahead, by other threads and another number of batches."""
    options = dataclasses.replace(OPTIONS, data_dir=data_dir, residency=first)
    others = {"device": "stream", "ram": "device", "stream": "ram"}
    if first == "device":
        monkeypatch.setattr("research.data.batching.stream._THREADS", 3)
        monkeypatch.setattr("research.data.batching.stream._AHEAD", 2)
    assert_exact_after_every_step(TINY, options, tmp_path, residency=others[first])
