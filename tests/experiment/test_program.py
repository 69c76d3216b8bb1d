import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given

from research.errors import WrongValueError
from research.experiment import (
    Start,
    fingerprint,
    join,
    leaves,
    replace,
    split,
)
from research.fields import Placeholder, kind
from research.optimization import Group
from tests.experiment.values import BASE, FIELDS, OVERRIDES, Holder, get


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
    return {path: leaf if kind(leaf, note) == "program" else Placeholder() for path, leaf, note in leaves(value)}


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
    "data.size": 5,
    "task.label_smoothing": 0.0,
    "task.class_weights": (1.0,),
    "task.top_k": 1,
    "task.auxiliary": 0.5,
    "data.name": "mnist5k",
    "data.train": "train[:99]",
    "data.validation": "test",
    "data.test": "train",
    "data.sha256": "0" * 64,
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
    "start": (Start(BASE, ("block_0",)),),
    "references": (("teacher", BASE),),
    "accumulation": 2,
    "safety.nonfinite": "skip",
    "safety.spike": 6.0,
    "forward_mode": True,
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
    holes = [path for path, leaf, _ in leaves(program) if isinstance(leaf, Placeholder)]
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
