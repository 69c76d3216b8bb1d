import dataclasses
import json
import math
import os
import string
import subprocess
import sys
import types
import typing
from pathlib import Path
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from research.data import Images
from research.errors import UnknownPathError, UsageError, WrongTypeError, WrongValueError
from research.experiment import (
    Experiment,
    Pretrained,
    RunOptions,
    Start,
    classes,
    difference,
    explain,
    fingerprint,
    from_json,
    join,
    leaves,
    replace,
    spec,
    split,
    to_json,
    value_at,
    vocabulary,
)
from research.fields import Hole, Range, Size, Switch, children, is_value, kind
from research.models import CNN
from research.optimization import Group, Optimizer
from research.tasks import Classification

BASE = Experiment(
    model=CNN(channels=(3, 5), dense=(7,), dropout=0.25),
    task=Classification(label_smoothing=0.125, class_weights=None),
    data=Images("digits", mean=(0.25, 0.5, 0.75), shift=1, noise=0.0625),
    optimizer=Optimizer("adamw", learning_rate=0.5, weight_decay=0.125, clip_norm=1.0, ema=0.75),
    steps=12,
    batch_size=17,
)


class Holder(nn.Module):
    """A model that holds anything."""

    content: Any = None


def fields(node, prefix=""):
    """Every field of a value, as (dotted path, value, annotation); a tuple is one field."""
    for name, child, annotation in children(node):
        yield prefix + name, child, annotation
        if is_value(child):
            yield from fields(child, f"{prefix}{name}.")


FIELDS = {path: (value, annotation) for path, value, annotation in fields(BASE) if not is_value(value)}


def get(node, path):
    for name in path.split("."):
        node = node[int(name)] if isinstance(node, tuple) else getattr(node, name)
    return node


def fitting(annotation):
    """Values that a field of this annotation takes; floats are exact in float32."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        bounds = next((note for note in arguments[1:] if isinstance(note, Range)), Range())
        low, high = max(bounds.low, -(2**20)), min(bounds.high, 2**20)
        if arguments[0] is float:
            return st.floats(low, high, exclude_min=bounds.open_start, exclude_max=bounds.open_end, width=32)
        return st.integers(int(low), int(high))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (typing.Union, types.UnionType):
        return st.one_of([fitting(member) for member in arguments])
    if origin is tuple:
        return st.lists(fitting(arguments[0]), max_size=3).map(tuple)
    if annotation is float:
        return st.floats(-(2**20), 2**20, width=32)
    if annotation is Group:
        return st.builds(Group, st.just(("block_0", "logits.kernel")), fitting(Switch))
    return {
        int: st.integers(-99, 99),
        bool: st.booleans(),
        str: st.text(max_size=9),
        type(None): st.none(),
        Start: st.just(Start(BASE, ("block_0", "logits.kernel"))),
        Pretrained: st.sampled_from([Pretrained("w.pth", "f00d"), Pretrained("w.pth", "f00d", ("block_0",))]),
    }[annotation]


def without_conflict(overrides):
    """The one rule between fields: adam has no decoupled weight decay."""
    return overrides | ({"optimizer.weight_decay": 0.0} if overrides.get("optimizer.algorithm") == "adam" else {})


OVERRIDES = st.fixed_dictionaries({}, optional={path: fitting(note) for path, (_, note) in FIELDS.items()}).map(
    without_conflict
)


# replace


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


# difference


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


# fingerprint


@given(OVERRIDES)
@example({"seed": 7})
def test_fingerprint_tells_apart_all_but_the_seed(overrides):
    changed = replace(BASE, overrides)
    assert (fingerprint(changed) == fingerprint(BASE)) == (set(difference(BASE, changed)) <= {"seed"})


@pytest.mark.parametrize("path", FIELDS)
@given(data=st.data())
@settings(max_examples=5)
def test_fingerprint_depends_on_every_field_but_the_seed(path, data):
    old, annotation = FIELDS[path]
    new = data.draw(fitting(annotation).filter(lambda value: value != old and value != "adam"))
    assert (fingerprint(replace(BASE, {path: new})) == fingerprint(BASE)) == (path == "seed")


def test_equal_experiments_have_one_fingerprint():
    optimizer = dataclasses.asdict(BASE.optimizer)
    for value in (
        replace(replace(BASE, {"steps": 99}), {"steps": 12}),
        from_json(to_json(BASE)),
        dataclasses.replace(BASE, optimizer=Optimizer(**dict(reversed(optimizer.items())))),
        dataclasses.replace(BASE, model=CNN(10, (3, 5), dense=(7,), dropout=0.25)),
    ):
        assert value == BASE and fingerprint(value) == fingerprint(BASE)


def test_fingerprint_takes_an_integer_for_a_float():
    def build(one):
        return dataclasses.replace(BASE, optimizer=Optimizer(learning_rate=one), data=Images(mean=(one,)))

    assert fingerprint(build(1)) == fingerprint(build(1.0))


def test_fingerprint_does_not_tell_zeros_apart():
    plus, minus = (replace(BASE, {"data.mean": (zero,), "optimizer.eps": zero}) for zero in (0.0, -0.0))
    assert plus == minus and fingerprint(plus) == fingerprint(minus)


def model_with(**defaults):
    """A model class `Grown` with these fields: one class at different times of its life."""
    return type("Grown", (nn.Module,), {"__annotations__": dict.fromkeys(defaults, float), **defaults})


def test_a_new_field_with_a_default_keeps_fingerprints():
    old, new = model_with(a=0.5), model_with(a=0.5, b=0.25)
    values = [dataclasses.replace(BASE, model=model) for model in (old(), new(), new(b=0.5), old(a=0.1), new(a=0.1))]
    prints = [fingerprint(value) for value in values]
    assert prints[0] == prints[1] and prints[3] == prints[4]
    assert len(set(prints)) == 3


def test_the_order_of_fields_in_a_class_does_not_matter():
    one, other = model_with(a=0.5, b=0.25), model_with(b=0.25, a=0.5)
    prints = {fingerprint(dataclasses.replace(BASE, model=model(a=1.0, b=2.0))) for model in (one, other)}
    assert len(prints) == 1


def test_fingerprint_is_ten_hexadecimal_digits():
    assert len(fingerprint(BASE)) == 10 and set(fingerprint(BASE)) <= set(string.hexdigits.lower())


def test_fingerprint_is_the_same_in_another_process():
    code = (
        "import sys; from research.experiment import fingerprint, from_json, to_json\n"
        "value = from_json(sys.stdin.read()); print(fingerprint(value)); print(to_json(value))"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        input=to_json(BASE),
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "PYTHONHASHSEED": "12345"},
    )
    assert result.stdout == f"{fingerprint(BASE)}\n{to_json(BASE)}\n"


# split and join


@given(OVERRIDES)
def test_join_undoes_split(overrides):
    value = replace(BASE, {"optimizer.b2": 0.999, "optimizer.eps": 1e-8} | overrides)
    program, hyperparameters = split(value)
    joined = join(program, hyperparameters)
    assert joined == value and repr(joined) == repr(value) and fingerprint(joined) == fingerprint(value)
    assert program == split(value)[0] and hash(program) == hash(split(value)[0])


def test_join_takes_rows_of_a_stack_of_arguments():
    program, hyperparameters = split(BASE)
    row = {path: np.asarray([7, number, 9])[1] for path, number in hyperparameters.items()}
    assert all(isinstance(number, np.generic) for number in row.values())
    assert repr(join(program, row)) == repr(BASE)


def static(value):
    """What is part of the program, by path."""
    return {path: leaf if kind(leaf, note) == "program" else Hole() for path, leaf, note in leaves(value)}


@given(OVERRIDES)
def test_programs_are_equal_when_only_arguments_differ(overrides):
    changed = replace(BASE, overrides)
    same = static(changed) == static(BASE)
    assert (split(changed)[0] == split(BASE)[0]) == same
    if same:
        assert hash(split(changed)[0]) == hash(split(BASE)[0])
        assert split(changed)[1].keys() == split(BASE)[1].keys()


ARGUMENTS = {
    "model.dropout": 0.5,
    "task.label_smoothing": 0.5,
    "data.mean": (0.5, 0.5, 0.5),
    "data.std": (0.25,),
    "data.noise": 0.5,
    "data.randaugment_magnitude": 0.0,
    "optimizer.learning_rate": 0.0,
    "optimizer.warmup": 5,
    "optimizer.floor": 0.5,
    "optimizer.momentum": 0.0,
    "optimizer.b1": 0.0,
    "optimizer.b2": 0.5,
    "optimizer.eps": 0.0,
    "optimizer.weight_decay": 0.5,
    "optimizer.clip_norm": 0.5,
    "optimizer.ema": 0.5,
    "steps": 1,
    "seed": 2**32 - 1,
}
PROGRAM = {
    "model": Holder(),
    "model.classes": 11,
    "model.channels": (3, 7),
    "model.kernel": 5,
    "model.pooling": "average",
    "model.pool": 1,
    "model.dense": (),
    "model.activation": "step",
    "model.dropout": 0.0,
    "model.dtype": "bfloat16",
    "model.forward_mode": True,
    "data.size": 5,
    "task.label_smoothing": 0.0,
    "task.class_weights": (1.0,),
    "task.top_k": 1,
    "task.auxiliary": 0.5,
    "data.name": "mnist5k",
    "data.train": "train[:99]",
    "data.validation": "test",
    "data.test": "train",
    "data.mean": (0.25,),
    "data.std": (0.5, 0.5, 0.5),
    "data.shift": 0,
    "data.flip": True,
    "data.noise": 0.0,
    "data.randaugment_layers": 2,
    "data.cutout": 3,
    "data.mixup": 0.5,
    "data.cutmix": 0.5,
    "optimizer.algorithm": "momentum",
    "optimizer.schedule": "linear",
    "optimizer.weight_decay": 0.0,
    "optimizer.l1": 0.5,
    "optimizer.l2": 0.5,
    "optimizer.clip_norm": 0.0,
    "optimizer.ema": 0.0,
    "optimizer.groups": (Group(("block_0",), 0.5),),
    "batch_size": 19,
    "start": Start(BASE, ("block_0",)),
    "accumulation": 2,
    "nonfinite": "skip",
    "spike": 6.0,
}


def test_the_tables_name_every_field():
    assert {*ARGUMENTS, *PROGRAM} == {*FIELDS, "model"}


@pytest.mark.parametrize("path", ARGUMENTS)
def test_an_argument_leaves_the_program_as_it_is(path):
    changed = replace(BASE, {path: ARGUMENTS[path]})
    assert changed != BASE and split(changed)[0] == split(BASE)[0]
    assert hash(split(changed)[0]) == hash(split(BASE)[0])


@pytest.mark.parametrize("path", PROGRAM)
def test_what_is_no_argument_is_part_of_the_program(path):
    assert split(replace(BASE, {path: PROGRAM[path]}))[0] != split(BASE)[0]


def test_hyperparameters_are_the_arguments_by_path():
    value = replace(BASE, {"seed": 2**32 - 1, "optimizer.warmup": 3, "task.class_weights": (1.0, 2.0)})
    program, hyperparameters = split(value)
    holes = [path for path, leaf, _ in leaves(program) if isinstance(leaf, Hole)]
    assert holes == list(hyperparameters)
    integers = {"seed": np.uint32, "steps": np.int32, "optimizer.warmup": np.int32}
    assert {"task.class_weights.1", "data.mean.2", "model.dropout", *integers} <= hyperparameters.keys()
    for path, number in jax.jit(lambda numbers: numbers)(hyperparameters).items():
        assert number.dtype == integers.get(path, np.float32) and number.shape == (), path
        assert number.item() == pytest.approx(get(value, path), rel=1e-6)


def test_arguments_do_not_widen_the_computation():
    @jax.jit
    def scaled(hyperparameters):
        return [jnp.zeros(3, jnp.bfloat16) * number for path, number in hyperparameters.items() if path != "seed"]

    assert {x.dtype for x in scaled(split(BASE)[1])} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize(
    "overrides", [{"steps": 2**31}, {"optimizer.warmup": 2**31}, {"optimizer.learning_rate": 1e39}]
)
def test_a_number_too_great_for_its_argument_is_a_wrong_value(overrides):
    with pytest.raises(WrongValueError, match=next(iter(overrides))):
        replace(BASE, overrides)


def loss(value, params, batch):
    """Everything below the training loop in one number: augmentation, dropout, loss, penalty, schedule, update."""
    key = jax.random.key(value.seed)
    batch = value.data.preprocess(batch, key)

    def objective(params):
        outputs, _ = value.task.forward(value.model, params, {}, batch, key)
        return value.task.objective(value.task.measure(outputs, batch)) + value.optimizer.penalty(params)

    transformation = value.optimizer.transformation(value.optimizer.rate(3, value.steps))
    number, gradients = jax.value_and_grad(objective)(params)
    updates, _ = transformation.update(gradients, transformation.init(params), params)
    return number, optax.tree.norm(updates)


def inputs(value):
    generator = np.random.default_rng(0)
    b = value.batch_size
    batch = {
        "image": jnp.asarray(generator.integers(0, 256, (b, 8, 8, 1), np.uint8)),
        "label": jnp.asarray(generator.integers(0, 10, b, np.int32)),
    }
    return value.model.init(jax.random.key(0), jnp.zeros((1, 8, 8, 1)))["params"], batch


def test_a_joined_experiment_of_tracers_works_as_usual_traces_once_and_maps(experiment):
    small = {"model.channels": (3,), "model.pool": 3, "data.shift": 0}
    experiment = replace(experiment, {"optimizer.l1": 0.01, "optimizer.l2": 0.02, **small})
    variants = [
        experiment,
        replace(experiment, {"optimizer.learning_rate": 0.1, "seed": 5, "model.dropout": 0.75, "steps": 99}),
        replace(experiment, {"optimizer.clip_norm": 0.01, "optimizer.warmup": 7, "data.noise": 0.5, "data.std.0": 2}),
    ]
    program, _ = split(experiment)
    params, batch = inputs(experiment)
    traces = []

    def joined(program, hyperparameters):
        traces.append(program)
        return loss(join(program, hyperparameters), params, batch)

    step = jax.jit(joined, static_argnums=0)
    single = [step(*split(variant)) for variant in variants]
    assert len(traces) == 1
    for got, variant in list(zip(single, variants, strict=True))[1:]:
        expected = jax.jit(lambda params, batch, variant=variant: loss(variant, params, batch))(params, batch)
        np.testing.assert_allclose(got, expected, rtol=1e-4)
    assert len({float(number) for number, _ in single}) == len({float(norm) for _, norm in single}) == 3

    stacked = jax.tree.map(lambda *numbers: np.stack(numbers), *(split(variant)[1] for variant in variants))
    together = jax.jit(jax.vmap(joined, in_axes=(None, 0)), static_argnums=0)(program, stacked)
    np.testing.assert_allclose(np.transpose(together), single, rtol=1e-4)


def test_what_is_off_is_not_in_the_compiled_program(experiment):
    def text(value):
        params, batch = inputs(value)
        step = jax.jit(lambda program, numbers: loss(join(program, numbers), params, batch), static_argnums=0)
        return step.lower(*split(value)).as_text()

    off = replace(experiment, {"model.dropout": 0.0, "data.noise": 0.0, "data.shift": 0})
    assert "random_bits" not in text(off) and "threefry" not in text(off)
    assert "threefry" in text(experiment)


# JSON


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
    assert classes(value) == {Experiment, Holder, CNN, Classification, Images, Optimizer}
    assert from_json(to_json(value), known=classes(value)) == value
    with pytest.raises(UsageError, match='unknown class "Holder"'):
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


# what else is here


def test_an_experiment_is_frozen(experiment):
    with pytest.raises(dataclasses.FrozenInstanceError):
        experiment.steps = 3


def test_spec_is_the_shape_of_one_batch(experiment):
    shapes = {name: (item.shape, item.dtype) for name, item in spec(experiment).items()}
    assert shapes == {"image": ((17, 8, 8, 1), np.uint8), "label": ((17,), np.int32)}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"log_every": 0}, "log_every must be at least 1"),
        ({"evaluate_every": -1}, "evaluate_every must be .*, not -1"),
        ({"stop_after": 0}, "stop_after must be at least 1"),
        ({"residency": "disk"}, 'residency must be "auto" or "ram"'),
        ({"progress": True}, "progress must be"),
        ({"data_dir": 3}, "data_dir must be str or None"),
    ],
)
def test_run_options_are_checked(options, message):
    with pytest.raises(UsageError, match=message):
        RunOptions(**options)
    assert RunOptions(evaluate_every=0, stop_after=None).log_every == 50
