"""The program of a Transformer: layers in a loop, dropout, precision and platforms."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from research.models.transformer.stack import TransformerStack
from tests.models.text.small_transformers import LM, MODELS, SIZES, TOKENS, close, inputs, randomized, stacked


@pytest.mark.parametrize("positions", ["none", "rotary", "relative", "alibi", "sinusoidal"])
def test_sequences_may_be_longer_than_max_length_unless_positions_are_learned(positions):
    model = LM.clone(positions=positions, max_length=3, layers=1)
    variables = randomized(model, TOKENS[:, :3])
    short, long = jax.jit(lambda v: [model.apply(v, tokens) for tokens in (TOKENS[:, :3], TOKENS)])(variables)
    close(long[:, :3], short)
    assert np.isfinite(long).all()


@pytest.mark.parametrize(
    "name, remat, scan",
    [
        ("classifier", "none", True),
        ("language_model", "full", False),
        ("seq2seq", "dots", True),
    ],
)
def test_scan_and_remat_change_nothing_but_the_program(name, remat, scan):
    model, batch = MODELS[name].clone(positions="relative"), inputs(name)
    variables = randomized(model, batch)
    other = model.clone(scan=scan, remat=remat)
    converted = stacked(variables) if scan else variables
    initial = jax.eval_shape(lambda: other.init(jax.random.key(0), batch))
    assert jax.tree.map(jnp.shape, initial) == jax.tree.map(jnp.shape, converted)

    def run(model, variables):
        loss = jax.value_and_grad(lambda v: (jnp.sin(model.apply(v, batch)) ** 2).sum())
        return jax.jit(loss)(variables)

    value, gradient = run(model, variables)
    close(run(other, converted), (value, stacked(gradient) if scan else gradient))
    if remat != "none":
        jaxpr = str(jax.make_jaxpr(jax.grad(lambda v: other.apply(v, batch).sum()))(converted))
        assert "checkpoint" in jaxpr or "remat" in jaxpr


def test_each_layer_of_a_loop_begins_otherwise_and_drops_otherwise():
    model = LM.clone(scan=True)
    params = jax.jit(model.init)(jax.random.key(0), TOKENS)["params"]["decoder"]["layers"]
    kernel = params["feed_forward"]["hidden"]["kernel"]
    assert np.abs(kernel[0] - kernel[1]).max() > 0.01
    loop = TransformerStack(**SIZES, scan=True, dropout=0.5)
    x = np.ones((1, 5, 12), np.float32)
    zeros = randomized(loop, x, scale=0.0)
    zeros["params"]["layers"]["attention"]["output"]["bias"] += 1  # every block adds dropout of ones
    rngs = {"dropout": jax.random.key(0)}
    _, kept = jax.jit(lambda v: loop.apply(v, x, train=True, rngs=rngs, mutable=["intermediates"]))(zeros)
    one, two = kept["intermediates"]["layers"]["output"][0]
    assert not np.array_equal(one - x, two - one)


def test_without_residuals_a_block_that_gives_nothing_passes_nothing_on():
    x = np.random.default_rng(0).normal(size=(2, 5, 12)).astype(np.float32)
    model = TransformerStack(**SIZES)
    silent = randomized(model, x, scale=0.0)
    silent["params"]["norm"]["scale"] += 1
    passed, _ = jax.jit(model.apply)(silent, x)
    np.testing.assert_allclose(passed, (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True), rtol=1e-3)
    np.testing.assert_array_equal(jax.jit(model.clone(residual=False).apply)(silent, x)[0], 0 * x)


@pytest.mark.parametrize("name", MODELS)
def test_dropout_of_zero_equals_evaluation_and_each_rate_acts(name):
    model, batch = MODELS[name].clone(layers=1), inputs(name)
    variables = randomized(model, batch)

    rates = ("dropout", "attention_dropout", "feed_forward_dropout", "final_dropout")

    def program(train, **fields):
        rngs = {"dropout": jax.random.key(1)} if fields else {}
        return jax.jit(lambda v: model.clone(**fields).apply(v, batch, train=train, rngs=rngs)).lower(variables)

    plain, other, evaluated = program(False), program(True), program(False, **dict.fromkeys(rates, 0.4))
    assert plain.as_text() == other.as_text() == evaluated.as_text()

    @jax.jit
    def run(values):
        fields = dict(zip(rates, values, strict=True))
        return model.clone(**fields).apply(variables, batch, train=True, rngs={"dropout": jax.random.key(1)})

    expected = plain.compile()(variables)
    for rate in rates:
        dropped = run([0.4 if other == rate else 0.0 for other in rates])
        assert np.abs(dropped - expected).max() > 0.01, rate


@pytest.mark.parametrize("scan", [False, True])
def test_float_fields_are_arguments_and_map(scan):
    model = LM.clone(scan=scan, positions="rotary", layers=1)
    variables = randomized(model, TOKENS)

    def run(rates):
        fields = {"dropout": rates[0], "attention_dropout": rates[1], "feed_forward_dropout": rates[2]}
        model_now = model.clone(**fields, norm_epsilon=rates[3], rotary_base=1 + 100 * rates[0])
        return model_now.apply(variables, TOKENS, train=True, rngs={"dropout": jax.random.key(0)})

    rates = jnp.array([[0.1, 0.2, 0.3, 1e-5], [0.4, 0.1, 0.2, 0.1]])
    traced = jax.jit(chex.assert_max_traces(run, n=1))
    single = [traced(row) for row in rates]
    assert np.abs(single[0] - single[1]).max() > 0.01
    close(jax.jit(jax.vmap(run))(rates), jnp.stack(single))


def test_bfloat16_learns_a_toy_without_a_nan():
    model = LM.clone(dtype="bfloat16", scan=True, positions="rotary", tied=False)
    tokens = jnp.asarray(np.arange(15)[None] % 3 + np.array([[0], [3], [6]]))
    variables = jax.jit(model.init)(jax.random.key(0), tokens)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    optimizer = optax.adam(1e-2)

    def loss(variables):
        logits = model.apply(variables, tokens[:, :-1])
        assert logits.dtype == jnp.float32
        return optax.softmax_cross_entropy_with_integer_labels(logits, tokens[:, 1:]).mean()

    @jax.jit
    def step(carry, _):
        variables, state = carry
        value, gradient = jax.value_and_grad(loss)(variables)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(variables, updates), state), value

    _, losses = jax.lax.scan(step, (variables, optimizer.init(variables)), length=60)
    assert np.isfinite(losses).all() and losses[-1] < 0.2 < losses[0]


@pytest.mark.parametrize("name", MODELS)
def test_value_and_gradient_lower_for_every_platform(name):
    model = MODELS[name].clone(scan=True, remat="dots", dropout=0.1, positions="relative", dtype="bfloat16")
    batch = jax.tree.map(jnp.asarray, inputs(name, lengths=True))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), batch))

    def loss(variables, batch):
        return model.apply(variables, batch, train=True, rngs={"dropout": jax.random.key(0)}).sum()

    traced = jax.jit(jax.value_and_grad(loss)).trace(variables, batch)
    assert "stablehlo" in traced.lower(lowering_platforms=("cpu", "cuda", "tpu")).as_text()
