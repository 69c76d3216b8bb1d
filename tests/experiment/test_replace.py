import dataclasses
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from research.data import Images
from research.errors import UnknownPathError, UsageError, WrongTypeError, WrongValueError
from research.experiment import (
    difference,
    explain,
    leaves,
    replace,
    to_json,
    value_at,
)
from research.fields import Size
from research.models import CNN
from research.optimization import Group, Optimizer
from tests.experiment.values import BASE, FIELDS, OVERRIDES, Holder, fitting, get, without_conflict


@pytest.mark.parametrize("path", FIELDS)
@given(data=st.data())
@settings(max_examples=5)
def test_every_field_can_be_exchanged_and_put_back(path, data):
    old, annotation = FIELDS[path]
    new = data.draw(fitting(annotation))
    rest = without_conflict({path: new})
    changed = replace(BASE, rest)
    assert get(changed, path) == new
    assert replace(changed, {name: get(BASE, name) for name in rest}) == BASE


@pytest.mark.parametrize("path", [path for path, _, _ in leaves(BASE) if path not in FIELDS])
def test_every_item_of_a_tuple_can_be_exchanged(path):
    changed = replace(BASE, {path: 9})
    assert get(changed, path) == 9
    name, index = path.rsplit(".", 1)
    kept = [item for i, item in enumerate(get(BASE, name)) if i != int(index)]
    assert [item for i, item in enumerate(get(changed, name)) if i != int(index)] == kept


@given(OVERRIDES)
def test_overrides_take_hold_together_and_touch_nothing_else(overrides):
    before = to_json(BASE)
    changed = replace(BASE, overrides)
    assert to_json(BASE) == before
    for path, (value, _) in FIELDS.items():
        assert get(changed, path) == overrides.get(path, value)


def test_a_whole_value_and_a_path_below_it_at_once():
    overrides = {"model.dropout": 0.5, "model": CNN(channels=(11,), kernel=5), "steps": 3, "model.channels.0": 13}
    for order in (overrides, dict(reversed(overrides.items()))):
        changed = replace(BASE, order)
        assert changed.model == CNN(channels=(13,), kernel=5, dropout=0.5)
        assert changed.steps == 3 and changed.task == BASE.task


@pytest.mark.parametrize(
    "overrides, path",
    [
        ({"model.channels": (8,), "model.channels.1": 5}, "model.channels.1"),
        ({"model.channels": (8,), "model.channels.0.x": 5}, "model.channels.0.x"),
        ({"model": Holder(), "model.dropout": 0.5}, "model.dropout"),
        ({"task.class_weights": None, "task.class_weights.0": 1.0}, "task.class_weights.0"),
    ],
)
def test_a_path_that_another_override_removes_is_unknown(overrides, path):
    base = replace(BASE, {"task.class_weights": (1.0, 2.0)})
    with pytest.raises(UnknownPathError, match=f'"{path}"'):
        replace(base, overrides)


def test_a_path_that_another_override_adds_is_known():
    changed = replace(BASE, {"model": CNN(channels=(3, 5, 7)), "model.channels.2": 11})
    assert changed.model.channels == (3, 5, 11)
    changed = replace(BASE, {"model": Holder(), "model.content": 5})
    assert changed.model == Holder(5)


def test_nothing_to_replace_gives_an_equal_experiment():
    assert replace(BASE, {}) == BASE


@pytest.mark.fault("F30")
@pytest.mark.parametrize(
    "path, named",
    [
        ("model.dropuot", "model.dropout"),
        ("dropout", "model.dropout"),
        ("modle.dropout", "model.dropout"),
        ("modle", "model"),
        ("model.dropout.rate", "model.dropout"),
        ("model.channels.5", "model.channels"),
        ("model.channels.-1", "model.channels"),
        ("optimiser.learning_rate", "optimizer.learning_rate"),
        ("learning_rate", "optimizer.learning_rate"),
        ("step", "steps"),
    ],
)
def test_an_unknown_path_is_met_with_the_closest(path, named):
    with pytest.raises(UnknownPathError, match=f'there is no "{path}"; did you mean .*"{named}"'):
        replace(BASE, {path: 1})


@pytest.mark.parametrize(
    "path", ["", ".", "model.", ".model", "model..dropout", "model.name", "model.parent", "steps.0"]
)
def test_what_is_no_path_is_unknown(path):
    with pytest.raises(UnknownPathError):
        replace(BASE, {path: 1})


@pytest.mark.parametrize(
    "path, value, error, message",
    [
        ("model.dropout", "0.2", WrongTypeError, r"model.dropout must be float in \[0, 1\), not '0.2' \(str\)"),
        ("model.dropout", True, WrongTypeError, "model.dropout must be float"),
        ("model.kernel", 3.0, WrongTypeError, r"model.kernel must be int at least 1, not 3.0 \(float\)"),
        ("model.kernel", True, WrongTypeError, "model.kernel must be int"),
        ("data.flip", 1, WrongTypeError, "data.flip must be bool, not 1"),
        ("model.activation", "rleu", WrongTypeError, 'model.activation must be "relu" or .* did you mean "relu"'),
        ("model.channels", [3, 5], WrongTypeError, r"model.channels must be tuple of int at least 1, not \[3, 5\]"),
        ("model.channels", (3, 5.0), WrongTypeError, "model.channels.1 must be int at least 1"),
        ("model.channels.1", 5.0, WrongTypeError, "model.channels.1 must be int at least 1"),
        ("model", 3, WrongTypeError, r"model must be Module, not 3 \(int\)"),
        ("task", Images(), WrongTypeError, "task must be Task, not Images"),
        ("model.dropout", 1.0, WrongValueError, r"model.dropout must be in \[0, 1\), not 1.0"),
        ("model.channels", (3, 0), WrongValueError, "model.channels.1 must be at least 1, not 0"),
        ("batch_size", 0, WrongValueError, "batch_size must be at least 1"),
        ("seed", -1, WrongValueError, "seed must be in"),
        ("optimizer.learning_rate", math.nan, WrongValueError, "optimizer.learning_rate must be finite"),
        ("model", CNN(dropout=2.0), WrongValueError, r"model.dropout must be in \[0, 1\), not 2.0"),
        ("model", CNN(kernel="3"), WrongTypeError, "model.kernel must be int at least 1"),
    ],
)
def test_a_wrong_value_is_named_with_its_path(path, value, error, message):
    with pytest.raises(error, match=message):
        replace(BASE, {path: value})
    with pytest.raises(UsageError):
        replace(BASE, {"steps": 5, path: value})


def test_an_integer_given_for_a_float_becomes_one():
    changed = replace(BASE, {"optimizer.learning_rate": 1, "task.class_weights": (1, 2), "data.mean.0": 0})
    numbers = [changed.optimizer.learning_rate, *changed.task.class_weights, changed.data.mean[0]]
    assert numbers == [1, 1, 2, 0] and {type(number) for number in numbers} == {float}
    built = dataclasses.replace(BASE, optimizer=Optimizer(learning_rate=1))
    assert type(built.optimizer.learning_rate) is float


def test_a_rule_between_fields_is_checked_on_the_result():
    with pytest.raises(WrongValueError, match="optimizer.weight_decay"):
        replace(BASE, {"optimizer.algorithm": "adam"})
    changed = replace(BASE, {"optimizer.algorithm": "adam", "optimizer.weight_decay": 0})
    assert changed.optimizer.algorithm == "adam"
    with pytest.raises(WrongValueError, match="optimizer.weight_decay"):
        replace(changed, {"optimizer.weight_decay": 0.5})
    assert replace(changed, {"optimizer.weight_decay": 0.5, "optimizer.algorithm": "sgd"}).optimizer.weight_decay == 0.5


def test_paths_go_into_values_in_a_tuple():
    @dataclasses.dataclass(frozen=True)
    class Block:
        width: Size = 3

    @dataclasses.dataclass(frozen=True)
    class Net:
        blocks: tuple[Block, ...] = (Block(), Block(5))

    changed = replace(Net(), {"blocks.1.width": 7})
    assert changed == Net((Block(), Block(7)))
    assert [path for path, _, _ in leaves(changed)] == ["blocks.0.width", "blocks.1.width"]
    with pytest.raises(WrongValueError, match=r"blocks.0.width must be at least 1"):
        replace(Net(), {"blocks.0.width": 0})


@given(OVERRIDES)
def test_difference_is_exactly_what_was_overridden(overrides):
    changed = replace(BASE, overrides)
    expected = [path for path, (value, _) in FIELDS.items() if overrides.get(path, value) != value]
    assert difference(BASE, changed) == difference(changed, BASE) == expected
    assert explain(BASE, changed).count("->") >= len(expected)


def test_equal_experiments_do_not_differ():
    assert difference(BASE, replace(BASE, {})) == [] and explain(BASE, BASE) == ""


def test_a_value_of_another_class_differs_as_a_whole():
    class Other(CNN):
        pass

    changed = replace(BASE, {"model": Other(), "steps": 13})
    assert difference(BASE, changed) == ["model", "steps"]


def test_values_in_a_tuple_differ_field_by_field_and_tuples_of_other_lengths_as_a_whole():
    groups = (Group(("block_0",), 0.5), Group(("logits",), 2.0))
    base = replace(BASE, {"optimizer.groups": groups})
    changed = replace(base, {"optimizer.groups.1.factor": 0.0, "model.channels.0": 9})
    assert difference(base, changed) == ["model.channels", "optimizer.groups.1.factor"]
    assert [value_at(changed, path) for path in difference(base, changed)] == [(9, 5), 0.0]
    assert difference(base, BASE) == difference(BASE, base) == ["optimizer.groups"]
    assert difference(base, replace(base, {"optimizer.groups": groups[:1]})) == ["optimizer.groups"]


def test_explain_says_one_difference_a_line():
    changed = replace(BASE, {"model.dropout": 0.5, "model.channels": (3,), "data.train": "train[:9]", "steps": 13})
    assert explain(BASE, changed).splitlines() == [
        "model.channels: (3, 5) -> (3,)",
        "model.dropout: 0.25 -> 0.5",
        "data.train: None -> 'train[:9]'",
        "steps: 12 -> 13",
    ]
