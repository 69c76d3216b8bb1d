"""A run small enough to repeat dozens of times, with everything on that could break an exact resume."""

import dataclasses
from pathlib import Path

import pytest

from research.data import Images
from research.experiment import Experiment, RunOptions
from research.models import CNN
from research.optimization import Optimizer
from research.tasks import Classification
from research.training import train


@pytest.fixture(scope="session")
def tiny():
    """Twelve steps of 257 examples: more than two epochs of the 1,000 or so, so batches straddle them."""
    return Experiment(
        model=CNN(channels=(3, 5), dense=(7,), dropout=0.25),
        task=Classification(label_smoothing=0.1),
        data=Images("digits", shift=1, noise=0.05),
        optimizer=Optimizer("adamw", learning_rate=0.02, warmup=3, weight_decay=0.01, clip_norm=1.0, ema=0.8),
        steps=12,
        batch_size=257,
        seed=3,
    )


@pytest.fixture(scope="session")
def options(data_dir):
    return RunOptions(
        data_dir=data_dir, log_every=1, evaluate_every=5, checkpoint_every=4, progress="none", pictures=False
    )


@pytest.fixture(scope="session")
def undisturbed(tiny, options, tmp_path_factory) -> Path:
    """The folder of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    train(tiny, folder, dataclasses.replace(options, pictures=True))
    return folder
