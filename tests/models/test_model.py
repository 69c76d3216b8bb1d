"""What every model says of itself, and what a linen module is called with that says nothing."""

import dataclasses

import flax.linen as nn
import jax
import numpy as np
import pytest

from research.errors import UsageError
from research.experiment import fingerprint, replace
from research.models import RecurrentClassifier, TransformerClassifier
from research.models.model import BoundedWriter, Model, Writer, as_model, model_inputs
from tests.families import FAMILIES

MODELS = {name: experiment.model for name, experiment in FAMILIES.items()}
IDS = np.zeros((2, 5), np.int32)
BATCH = {
    "image": np.zeros((2, 28, 28, 1), np.float32),
    "features": np.zeros((2, 5, 3), np.float32),
    "tokens": IDS,
    "targets": IDS,
    "segments": IDS,
    "lengths": np.array([5, 2], np.int32),
}


class Wrapper(Model):
    """A change of another model."""

    inner: nn.Module

    @property
    def reads(self):
        return self.inner.reads

    @property
    def partition(self):
        return self.inner.partition

    @nn.nowrap
    def vocabularies(self):
        return self.inner.vocabularies()

    def __call__(self, inputs, train=False):
        return self.inner(inputs, train)


class Plain(nn.Module):
    """A user's own module."""

    @nn.compact
    def __call__(self, x, train=False):
        return x


def named(model):
    """The names of all that a model may read."""
    return {name for entry in model.reads for name in entry.removesuffix("?").split("|")}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_called_with_what_it_reads_and_needs_what_is_not_optional(name):
    model = MODELS[name]
    batch = BATCH | ({"documents": IDS} if "documents" in named(model) else {})  # which no model leaves unread
    assert isinstance(model, Model) and named(model) <= batch.keys()
    inputs = model_inputs(model, batch)
    if len(model.reads) == 1:
        assert any(inputs is batch[name] for name in named(model))
    else:
        assert inputs.keys() == named(model) and all(inputs[name] is batch[name] for name in inputs)
    for entry in model.reads:
        names = entry.removesuffix("?").split("|")
        rest = {name: array for name, array in batch.items() if name not in names}
        if entry.endswith("?"):
            assert model_inputs(model, rest).keys() == inputs.keys() - set(names)
        else:
            words = (
                f"{type(model).__name__} reads {' or '.join(names)}, but the data gives it {', '.join(sorted(rest))}"
            )
            with pytest.raises(UsageError, match=words):
                model_inputs(model, rest)


@pytest.mark.parametrize("name", [name for name, model in MODELS.items() if model.vocabularies()])
def test_a_vocabulary_is_of_an_entry_that_is_read_and_has_a_row_for_each_id(name):
    model = MODELS[name]
    assert model.vocabularies().keys() <= named(model)
    shapes = jax.eval_shape(model.init, jax.random.key(0), model_inputs(model, BATCH))["params"]
    rows = {leaf.shape[0] for path, leaf in jax.tree.leaves_with_path(shapes) if path[-1].key == "embedding"}
    assert set(model.vocabularies().values()) <= rows


def test_what_is_read_follows_from_the_fields():
    for model in (RecurrentClassifier, TransformerClassifier):
        assert model(vocabulary=None).reads == ("features", "lengths?") and model(vocabulary=None).vocabularies() == {}
        assert model(vocabulary=7).reads == ("tokens", "lengths?") and model(vocabulary=7).vocabularies() == {
            "tokens": 7
        }


def test_a_wrapper_hands_on_what_its_inner_model_says():
    for model in (MODELS["BertClassifier"], MODELS["MLP"]):
        wrapper = Wrapper(model)
        assert (wrapper.reads, wrapper.partition, wrapper.vocabularies()) == (
            model.reads,
            model.partition,
            model.vocabularies(),
        )
    table = {"features": BATCH["features"]}
    inputs = model_inputs(wrapper, table)
    assert inputs is table["features"]
    assert jax.eval_shape(wrapper.init, jax.random.key(0), inputs)["params"].keys() == {"inner"}


def test_a_module_that_says_nothing_gets_the_image_or_the_only_entry_or_all():
    assert model_inputs(Plain(), BATCH) is BATCH["image"]
    assert model_inputs(Plain(), {"waveform": IDS}) is IDS
    several = {"tokens": IDS, "lengths": BATCH["lengths"]}
    assert model_inputs(Plain(), several) == several
    assert as_model(Plain()).partition == () and as_model(Plain()).vocabularies() == {}
    assert as_model(Plain()).auxiliary is False


def test_what_all_models_answer_is_no_field_and_leaves_the_fingerprint(experiment):
    assert {field.name for field in dataclasses.fields(Model)} == {"parent", "name"}
    model = MODELS["InceptionV1"]
    assert model.auxiliary is False and model.clone(auxiliary=True).auxiliary is True
    changed = replace(experiment, {"model": model})
    assert fingerprint(changed) != fingerprint(replace(changed, {"model.auxiliary": True}))


def test_who_writes_and_who_sees_a_limited_number_of_tokens():
    bounded = {"TransformerLanguageModel", "TransformerSeq2Seq"}
    for kind, names in {Writer: {*bounded, "RecurrentLanguageModel", "Seq2Seq"}, BoundedWriter: bounded}.items():
        assert {type(model).__name__ for model in MODELS.values() if isinstance(model, kind)} == names
