"""The step is a pure function, traced once per program, and computes what it says."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from research.data import Batches, gather
from research.devices import compile_for
from research.experiment import replace, spec, split
from research.training import eval_step, init, predict_step, train, train_step
from research.training.update.shapes import abstract_state
from research.training.update.state import AUGMENTATION, DROPOUT, INIT, stream

ARGUMENTS = {
    "optimizer.learning_rate": 0.003,
    "optimizer.weight_decay": 0.2,
    "optimizer.clip_norm": 0.5,
    "optimizer.ema": 0.5,
    "optimizer.b1": 0.8,
    "optimizer.warmup": 5,
    "model.dropout": 0.6,
    "task.label_smoothing": 0.3,
    "data.mean": (0.3,),
    "data.noise": 0.2,
    "steps": 3,
    "seed": 77,
}


@pytest.fixture(scope="module")
def batches(tiny, data_dir):
    return Batches(tiny.data.open("train", data_dir), tiny.batch_size, tiny.seed)


def plain(tiny, **overrides):
    """The experiment without anything random or regularising."""
    off = {f"optimizer.{name}": 0.0 for name in ("weight_decay", "clip_norm", "ema")}
    calm = {"model.dropout": 0.0, "data.shift": 0, "data.noise": 0.0, "task.label_smoothing": 0.0}
    return replace(tiny, {**off, **calm, **overrides})


def test_one_trace_per_program(tiny, options, tmp_path, monkeypatch):
    """No change of an argument traces, and so compiles, another training step."""
    traces = []

    def counted(*arguments):
        traces.append(arguments[0])
        return train_step(*arguments)

    monkeypatch.setattr("research.training.stepping.step_of", lambda count, reports: counted)
    tiny = replace(tiny, {"steps": 2})
    train(tiny, tmp_path / "baseline", options)
    for index, (path, value) in enumerate(ARGUMENTS.items()):
        train(replace(tiny, {path: value}), tmp_path / str(index), options)
    assert len(traces) == 1
    train(replace(tiny, {"model.channels": (3, 7)}), tmp_path / "wider", options)
    assert len(traces) == 2


def test_state_holds_arrays_only(tiny):
    state = init(tiny, jax.random.key(0))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    assert jax.tree.structure(state) == jax.tree.structure(init(tiny, jax.random.key(1)))
    chex.assert_trees_all_equal_shapes_and_dtypes(state, abstract_state(tiny))


def test_step_is_pure(tiny, batches):
    program, hyperparameters = split(tiny)
    step, state, batch = compile_for(train_step, program), init(tiny, jax.random.key(0)), batches.input_at(0)
    chex.assert_trees_all_equal(step(hyperparameters, state, batch), step(hyperparameters, state, batch))


def test_rows_and_arrays_give_the_same_step(tiny, batches):
    program, hyperparameters = split(tiny)
    state, feed = init(tiny, jax.random.key(0)), batches.input_at(3)
    step = compile_for(train_step, program)
    chex.assert_trees_all_close(
        step(hyperparameters, state, feed), step(hyperparameters, state, gather(feed)), rtol=1e-6, atol=1e-7
    )


def test_sgd_step_by_hand(tiny, batches):
    """One step of plain SGD is params - rate * gradient of the mean cross-entropy, and the norms are theirs."""
    experiment = plain(tiny, **{"optimizer.algorithm": "sgd", "optimizer.schedule": "constant", "optimizer.warmup": 0})
    program, hyperparameters = split(experiment)
    state, batch = init(experiment, jax.random.key(0)), batches.batch_at(0)

    def loss(params):
        images = (batch["image"].astype(jnp.float32) / 255 - 0.5) / 0.5
        logits = experiment.model.apply({"params": params}, images)
        return optax.softmax_cross_entropy_with_integer_labels(logits, batch["label"]).mean()

    value, gradient = jax.jit(jax.value_and_grad(loss))(state.params)
    expected = jax.tree.map(lambda w, g: w - 0.02 * g, state.params, gradient)
    after, metrics = compile_for(train_step, program)(hyperparameters, state, batch)
    chex.assert_trees_all_close(after.params, expected, rtol=1e-5, atol=1e-6)
    assert int(after.step) == 1
    np.testing.assert_allclose(metrics["objective"], value, rtol=1e-5)
    np.testing.assert_allclose(metrics["learning_rate"], 0.02, rtol=1e-6)
    np.testing.assert_allclose(metrics["gradient_norm"], optax.tree.norm(gradient), rtol=1e-5)
    np.testing.assert_allclose(metrics["update_norm"], 0.02 * optax.tree.norm(gradient), rtol=1e-5)
    np.testing.assert_allclose(metrics["parameter_norm"], optax.tree.norm(state.params), rtol=1e-6)


def test_moving_average_by_hand(tiny, batches):
    """ema = decay * ema + (1 - decay) * params, and evaluation uses it."""
    program, hyperparameters = split(tiny)
    step, state = compile_for(train_step, program), init(tiny, jax.random.key(0))
    average = state.params
    for index in range(4):
        state, _ = step(hyperparameters, state, batches.batch_at(index))
        average = jax.tree.map(lambda e, w: 0.8 * e + 0.2 * w, average, state.params)
    chex.assert_trees_all_close(state.ema, average, rtol=1e-5, atol=1e-6)
    evaluate, batch = compile_for(eval_step, program), batches.batch_at(0)
    swapped = state._replace(params=state.ema)
    assert evaluate(hyperparameters, state, batch)["loss"] == evaluate(hyperparameters, swapped, batch)["loss"]


@pytest.mark.fault("F1")
@pytest.mark.parametrize("drawn", [{"model.dropout": 0.25}, {"data.shift": 1}, {"data.noise": 0.05}])
def test_dropout_and_augmentation_change_with_step_and_seed(drawn, tiny, batches):
    """Each by itself."""
    experiment = plain(tiny, **drawn)
    program, hyperparameters = split(experiment)
    step, state, batch = compile_for(train_step, program), init(experiment, jax.random.key(0)), batches.batch_at(0)
    later = state._replace(step=jnp.int32(1))
    losses = {
        float(step(values, before, batch)[1]["objective"])
        for values in (hyperparameters, {**hyperparameters, "seed": np.uint32(9)})
        for before in (state, later)
    }
    assert len(losses) == 4


def test_evaluation_draws_nothing(tiny, batches):
    program, hyperparameters = split(tiny)
    state, batch = init(tiny, jax.random.key(0)), batches.batch_at(0)
    other = {**hyperparameters, "seed": np.uint32(9), "model.dropout": np.float32(0.9), "data.noise": np.float32(9)}
    evaluate = compile_for(eval_step, program)
    chex.assert_trees_all_equal(evaluate(hyperparameters, state, batch), evaluate(other, state, batch))


def test_training_fits_a_batch(tiny, batches):
    experiment = plain(tiny, **{"optimizer.schedule": "constant", "steps": 200})
    program, hyperparameters = split(experiment)
    step, state = compile_for(train_step, program, donate_state=True), init(experiment, jax.random.key(0))
    batch = {name: array[:16] for name, array in batches.batch_at(0).items()}
    for _ in range(200):
        state, metrics = step(hyperparameters, state, batch)
    assert metrics["objective"] < 0.01


@pytest.mark.slow
def test_vmap_over_hyperparameters_equals_a_loop(tiny, batches):
    """A sweep stacks the arguments of one program."""
    experiments = [
        replace(tiny, {"optimizer.learning_rate": rate, "seed": seed}) for rate, seed in ((0.1, 1), (0.02, 2))
    ]
    program, _ = split(tiny)
    arguments = [split(experiment)[1] for experiment in experiments]
    states = [init(experiment, jax.random.key(experiment.seed)) for experiment in experiments]
    batch = batches.batch_at(0)
    stacked = [jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees) for trees in (arguments, states)]
    together, _ = jax.jit(jax.vmap(lambda h, s: train_step(program, h, s, batch)))(*stacked)
    for index in range(2):
        alone, _ = compile_for(train_step, program)(arguments[index], states[index], batch)
        chex.assert_trees_all_close(jax.tree.map(lambda leaf, i=index: leaf[i], together), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
@pytest.mark.parametrize("function", [train_step, eval_step, predict_step])
def test_lowers_for_every_platform(function, platform, tiny):
    program, hyperparameters = split(tiny)
    traced = compile_for(function, program).trace(hyperparameters, abstract_state(tiny), spec(tiny))
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    # On a CPU kernels as small as these are products, but for their gradients.
    assert ("stablehlo.convolution" in text) == (platform != "cpu" or function is train_step)


def test_streams_are_independent():
    key = jax.random.key(0)
    keys = [stream(key, name, step) for name in (INIT, DROPOUT, AUGMENTATION) for step in range(3)]
    assert len({tuple(jax.random.key_data(one).tolist()) for one in keys}) == 9
