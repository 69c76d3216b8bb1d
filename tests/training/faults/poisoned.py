"""A run of milliseconds over numbers, some of which can be spoilt: what tests of faults in them are tried on."""

import dataclasses
import json
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from research.data import Data, Records, indices_at
from research.data.schema import Categorical, Real, Schema
from research.experiment import Experiment, Safety
from research.layers.dropout import Dropout
from research.optimization import Optimizer
from research.tasks import Classification
from research.training import restore

TRAINING = 23  # examples; batches of five straddle the epochs


@dataclasses.dataclass(frozen=True)
class Numbers(Data):
    """Rows of seven numbers in three classes."""

    nan: tuple[int, ...] = ()
    """Rows of the training split with a number that is none."""
    far: tuple[int, ...] = ()
    """Rows of the training split that are a hundred times as large."""
    nan_in_validation: bool = False

    def spec(self):
        return {"features": jax.ShapeDtypeStruct((7,), jnp.float32), "label": jax.ShapeDtypeStruct((), jnp.int32)}

    def schema(self):
        return Schema({"features": Real(7), "label": Categorical(3)})

    def open(self, split, data_dir=None):
        generator = np.random.default_rng(["train", "validation", "test"].index(split))
        label = generator.integers(3, size=TRAINING).astype(np.int32)
        features = (generator.normal(size=(TRAINING, 7)) + label[:, None]).astype(np.float32)
        if split == "train":
            features[list(self.nan), 2] = np.nan
            features[list(self.far)] *= 100
        if split == "validation" and self.nan_in_validation:
            features[4] = np.nan
        return Records.of({"features": features, "label": label})

    def preprocess(self, batch, key=None):
        return batch


class Normed(nn.Module):
    """One hidden layer, with statistics of batches and dropout; its `root` has no gradient where it is zero."""

    root: bool = False

    @nn.compact
    def __call__(self, inputs, train=False):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(
            nn.Dense(5, use_bias=False, name="first")(inputs)
        )
        if self.root:
            x += jnp.sqrt(jnp.square(self.param("root", nn.initializers.zeros, ())))
        return nn.Dense(3, name="last")(Dropout(0.2, name="dropout")(nn.relu(x), train))


def experiment(**changes) -> Experiment:
    """Return a run of twelve steps."""
    known = {field.name for field in dataclasses.fields(Numbers)}
    data = Numbers(**{name: value for name, value in changes.items() if name in known})
    whole = Experiment(
        model=Normed(),
        task=Classification(),
        data=data,
        optimizer=Optimizer("adamw", learning_rate=0.02, weight_decay=0.01, ema=0.8),
        steps=12,
        batch_size=5,
        seed=3,
    )
    guarded = {field.name for field in dataclasses.fields(Safety)}
    whole = dataclasses.replace(whole, safety=Safety(**{name: changes[name] for name in changes.keys() & guarded}))
    return dataclasses.replace(whole, **{name: changes[name] for name in changes.keys() - known - guarded})


def updates_with(row: int, steps: int = 12) -> list[int]:
    """Return the numbers of the updates whose batch has a row of the training split."""
    return [step + 1 for step in range(steps) if row in indices_at(3, step, 5, TRAINING)]


def state_of(folder: Path, kind: str = "latest"):
    """Return the state that is saved in a folder."""
    return restore(folder, kind, known={Numbers, Normed})[1]


def lines_of(folder: Path, split: str = "train") -> list[dict[str, float]]:
    """Return the lines of a journal about a split."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in lines if line["split"] == split]
