"""Every model is a value: it can be an experiment's, changed by path, split, and read back from JSON."""

import flax.linen as nn
import pytest

from research import models
from research.experiment import fingerprint, from_json, join, leaves, replace, split, to_json

MODELS = [item for item in vars(models).values() if isinstance(item, type) and issubclass(item, nn.Module)]


@pytest.mark.parametrize("model", MODELS)
def test_model_is_a_value(model, experiment):
    changed = replace(experiment, {"model": model()})
    assert from_json(to_json(changed)) == changed
    program, hyperparameters = split(changed)
    assert hash(program) == hash(split(changed)[0])
    assert join(program, hyperparameters) == changed


@pytest.mark.parametrize("model", MODELS)
def test_every_float_of_a_model_is_an_argument(model, experiment):
    changed = replace(experiment, {"model": model()})
    floats = [path for path, leaf, _ in leaves(changed.model, "model") if isinstance(leaf, float)]
    assert any("dropout" in path for path in floats)
    for path in floats:
        other = replace(changed, {path: 2.0 if path.endswith("rotary_base") else 0.25})
        assert path in split(other)[1]
        assert fingerprint(other) != fingerprint(changed)
