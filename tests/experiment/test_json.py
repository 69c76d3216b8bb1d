import dataclasses
import json
import math
import os
import sys

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.data import Images, Uniform
from research.errors import UsageError, WrongTypeError
from research.experiment import (
    Experiment,
    Safety,
    classes,
    difference,
    fingerprint,
    from_json,
    replace,
    to_json,
    vocabulary,
)
from research.models import CNN
from research.optimization import Optimizer
from research.tasks import Classification
from tests.experiment.values import BASE, FIELDS, OVERRIDES, Holder, get


@given(OVERRIDES)
def test_json_gives_back_an_equal_experiment(overrides):
    value = replace(BASE, overrides)
    for indent in (None, 2):
        again = from_json(to_json(value, indent))
        assert again == value and repr(again) == repr(value)
    assert fingerprint(again) == fingerprint(value)


def tree():
    return json.loads(to_json(BASE))


def changed_tree(path, item):
    """The base as JSON with one thing exchanged, or left out where `item` is `...`."""
    *names, last = path.split(".")
    result = node = tree()
    for name in names:
        node = node[name]
    if item is ...:
        del node[last]
    else:
        node[last] = item
    return json.dumps(result)


def test_json_names_classes_and_every_field():
    assert tree()["class"] == "Experiment" and tree()["model"]["class"] == "CNN"
    assert tree()["data"]["mean"] == [0.25, 0.5, 0.75]
    assert tree()["optimizer"].keys() == {"class", *(field.name for field in dataclasses.fields(Optimizer))}


@pytest.mark.parametrize(
    "path, item, message",
    [
        ("class", "Experimnt", 'unknown class "Experimnt"; did you mean "Experiment"'),
        ("class", ..., 'unknown class "None"'),
        ("model.class", "CNM", 'unknown class "CNM"; did you mean "CNN"'),
        ("model.class", ["CNN"], "unknown class"),
        ("model.class", "nn.Dense", 'unknown class "nn.Dense"'),
        ("model.dropuot", 0.1, 'CNN has no field "dropuot"; did you mean "dropout"'),
        ("model.name", "x", 'CNN has no field "name"'),
        ("model.parent", None, 'CNN has no field "parent"'),
        ("stepz", 3, 'Experiment has no field "stepz"; did you mean "steps"'),
        ("steps", ..., "missing 1 required .*'steps'"),
        ("steps", 3.5, "steps must be int .*not 3.5"),
        ("model", None, "model must be Module"),
        ("model", [], "model must be Module"),
        ("model", {"class": "Optimizer"}, "model must be Module"),
        ("model.channels", 3, "model.channels must be tuple of int at least 1"),
        ("model.channels", [3, None], "model.channels.1 must be int at least 1"),
        ("data.mean", [[0.5]], "data.mean.0 must be float"),
        ("optimizer.learning_rate", "fast", "optimizer.learning_rate must be float"),
        ("optimizer.learning_rate", math.nan, "optimizer.learning_rate must be finite"),
        ("optimizer.learning_rate", -math.inf, "optimizer.learning_rate must be finite"),
        pytest.param("optimizer.learning_rate", 10**400, "optimizer.learning_rate must be", id="overflow"),
        ("optimizer.learning_rate", True, "optimizer.learning_rate must be float"),
        ("optimizer.weight_decay", -1, "optimizer.weight_decay must be at least 0"),
        ("optimizer.algorithm", "adam", "optimizer.weight_decay"),
    ],
)
def test_a_mistake_in_json_is_named(path, item, message):
    with pytest.raises(UsageError, match=message):
        from_json(changed_tree(path, item))


@pytest.mark.parametrize("path", ["model.dropout", "optimizer.ema", "data.name", "seed", "model.channels"])
def test_a_field_missing_in_json_takes_its_default(path):
    assert difference(from_json(changed_tree(path, ...)), BASE) in ([path], [])
    defaults = {"model": CNN(), "optimizer": Optimizer(), "data": Images(), "seed": 0}
    owner, _, name = path.partition(".")
    expected = get(defaults[owner], name) if name else defaults[owner]
    assert get(from_json(changed_tree(path, ...)), path) == expected


@pytest.mark.parametrize("text", ["", "{", "model: CNN", '{"class": "Experiment",}', "\0", "[" * 99, "[1, 2", "'x'"])
def test_text_that_is_not_json_is_refused(text):
    with pytest.raises(UsageError, match="not valid JSON"):
        from_json(text)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"class": ' * 100_000, "9" * 5000], ids=["lists", "objects", "digits"]
)
def test_hostile_json_is_refused(text):
    with pytest.raises(UsageError):
        from_json(text)


@pytest.mark.fault("F27")
@pytest.mark.parametrize("name", ["os.system", "antigravity.geohash", "antigravity", "builtins.eval", "__import__"])
def test_nothing_is_imported_or_called_by_name(name, monkeypatch):
    called = []
    monkeypatch.setattr(os, "system", called.append)
    before = set(sys.modules)
    for path in ("class", "model.class"):
        with pytest.raises(UsageError, match=f'unknown class "{name}"'):
            from_json(changed_tree(path, name))
    assert set(sys.modules) == before and "antigravity" not in sys.modules and not called


@pytest.mark.parametrize(
    "content",
    [jnp.tanh, len, Holder, np.zeros(3), jnp.zeros(3), {"a": 1}, {1, 2}, b"x", 1j, (1, (2, len))],
    ids=lambda content: type(content).__name__,
)
def test_what_has_no_canonical_form_is_refused(content):
    value = dataclasses.replace(BASE, model=Holder(content))
    for convert in (to_json, fingerprint):
        with pytest.raises(WrongTypeError, match=r"model.content.* has no canonical form"):
            convert(value)


def test_a_model_with_functions_in_its_fields_can_be_held_but_not_written():
    value = dataclasses.replace(BASE, model=nn.Dense(3))
    with pytest.raises(WrongTypeError, match="model.* has no canonical form"):
        to_json(value)


def test_a_class_of_ones_own_is_known_when_named():
    value = dataclasses.replace(BASE, model=Holder((1, ("a", None), CNN())))
    assert classes(value) == {Experiment, Safety, Holder, CNN, Classification, Images, Uniform, Optimizer}
    assert from_json(to_json(value), known=classes(value)) == value
    with pytest.raises(
        UsageError, match='^unknown class "Holder"; if it is of a module of yours, .* or known={Holder} '
    ):
        from_json(to_json(value))
    assert "Holder" not in vocabulary() and vocabulary([Holder])["Holder"] is Holder


WORDS = sorted({*vocabulary(), *(name for path in FIELDS for name in path.split(".")), "relu", "adamw", "class"})
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(WORDS), inner, max_size=4)
        | st.builds(
            lambda name, items: {"class": name, **items},
            st.sampled_from(sorted(vocabulary())),
            st.dictionaries(st.sampled_from(WORDS), inner, max_size=4),
        )
    ),
    max_leaves=9,
)


def only_usage_errors(text):
    try:
        return from_json(text)
    except UsageError as error:
        assert str(error)


@pytest.mark.parametrize("depth", [300, 600, 900, 30_000])
def test_json_nested_to_any_depth_is_read_or_a_usage_error(depth):
    only_usage_errors("[" * depth + "]" * depth)


@given(JSON)
@settings(max_examples=300)
def test_any_json_is_read_or_a_usage_error(item):
    only_usage_errors(json.dumps(item))


@given(st.text())
def test_any_text_is_read_or_a_usage_error(text):
    only_usage_errors(text)


@pytest.mark.fault("F30")
@given(st.sampled_from([*FIELDS, "model", "task", "data", "optimizer", "class", "model.class"]), JSON)
@settings(max_examples=300)
def test_any_change_of_a_valid_file_is_read_or_a_usage_error(path, item):
    value = only_usage_errors(changed_tree(path, item))
    if isinstance(value, Experiment):
        assert from_json(to_json(value)) == value
