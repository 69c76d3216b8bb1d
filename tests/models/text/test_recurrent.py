from functools import partial
from typing import get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from research.errors import UsageError
from research.layers.sequences.cells import Cell
from research.layers.sequences.decoding import greedy
from research.layers.sequences.recurrence import StackedRecurrence
from research.models.text.recurrent import RecurrentClassifier, RecurrentLanguageModel

CELLS = get_args(Cell)
B, L, V, D, H = 5, 7, 13, 3, 11
generator = np.random.default_rng(0)
TOKENS = np.stack([generator.permutation(V)[:L] for _ in range(B)]).astype(np.int32)  # no token twice in a text
X = generator.normal(size=(B, L, D)).astype(np.float32)
LENGTHS = np.array([4, 7, 1, 6, 2], np.int32)
CLASSIFIER = RecurrentClassifier(classes=3, vocabulary=V, embedding=5, hidden=H, layers=2, bidirectional=True)
LANGUAGE = RecurrentLanguageModel(vocabulary=V, embedding=5, hidden=H, layers=2)
MODELS = {"classifier": CLASSIFIER, "language model": LANGUAGE}
INPUTS = {"tokens": TOKENS, "lengths": LENGTHS}
close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


def apply(model, *inputs, **keywords):
    """What a model gives, compiled as one program."""
    return jax.jit(partial(model.apply, **keywords))(*inputs)


def randomized(model, inputs, seed=0):
    """Parameters of the model's shapes, biases random too."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), inputs)
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(generator.normal(size=leaf.shape) * 0.4, leaf.dtype), shapes)


def count(model, inputs):
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0), inputs)))


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_classifier_pools_the_valid_steps_of_its_recurrence(bidirectional, pooling):
    model = CLASSIFIER.clone(vocabulary=None, bidirectional=bidirectional, pooling=pooling)
    variables = randomized(model, X)
    params = variables["params"]
    stack = StackedRecurrence(H, 2, "lstm", bidirectional)
    outputs, carry = apply(stack, {"params": params["recurrence"]}, X, LENGTHS)
    if pooling == "last":
        pooled = np.concatenate([direction[0] for direction in carry[-1]], axis=-1)
    else:
        reduce = np.mean if pooling == "mean" else np.max
        pooled = np.stack([reduce(outputs[row, :length], axis=0) for row, length in enumerate(LENGTHS)])
    expected = pooled @ params["logits"]["kernel"] + params["logits"]["bias"][None]
    close(apply(model, variables, {"features": X, "lengths": LENGTHS}), expected)
    close(apply(model, variables, X), apply(model, variables, {"features": X, "lengths": np.full(B, L)}))


@pytest.mark.parametrize("name", MODELS)
def test_padding_changes_nothing(name):
    model = MODELS[name]
    variables = randomized(model, TOKENS)
    valid = np.arange(L)[None] < LENGTHS[:, None]

    @jax.jit
    def everything(tokens):
        def loss(variables):
            logits = apply(model, variables, {"tokens": tokens, "lengths": LENGTHS})
            return (logits[valid] ** 2).sum() if logits.ndim == 3 else (logits**2).sum(), logits

        return jax.value_and_grad(loss, has_aux=True)(variables)

    clean, dirty = everything(TOKENS), everything(np.where(valid, TOKENS, V + 99))
    jax.tree.map(np.testing.assert_array_equal, clean, dirty)
    wider = apply(model, variables, {"tokens": np.pad(TOKENS, ((0, 0), (0, 4))), "lengths": LENGTHS})
    close(wider[:, :L] if wider.ndim == 3 else wider, clean[0][1])


@pytest.mark.parametrize("cell", CELLS)
def test_the_language_model_sees_no_later_token(cell):
    model = LANGUAGE.clone(cell=cell)
    variables = randomized(model, TOKENS)

    def logits(embedding):
        params = {**variables["params"], "embed": {"embedding": embedding}}
        return model.apply({"params": params}, TOKENS[2:3])[0].sum(-1)

    influence = jax.jit(jax.jacrev(logits))(variables["params"]["embed"]["embedding"])  # [l, v, embedding]
    seen = (np.abs(influence).sum(-1) > 0)[:, TOKENS[2]]
    np.testing.assert_array_equal(seen, np.tril(np.ones((L, L), bool)))


@pytest.mark.parametrize("tied", [False, True])
def test_going_on_from_a_carry_equals_the_whole(tied):
    model = LANGUAGE.clone(embedding=H, tied=tied, residual=True)
    variables = randomized(model, TOKENS)
    whole = apply(model, variables, TOKENS)
    first, carry = apply(model, variables, TOKENS[:, :3], model.initial_carry(B), method="stream")
    rest, step = [], jax.jit(partial(model.apply, method="step"))
    for t in range(3, L):
        carry, logits = step(variables, carry, TOKENS[:, t])
        rest.append(logits)
    close(np.concatenate([first, np.stack(rest, axis=1)], axis=1), whole)


@pytest.mark.parametrize("cell", CELLS)
def test_texts_of_differing_lengths_are_gone_on_with(cell):
    """Each from its own end, whatever stands in its padding."""
    model = LANGUAGE.clone(cell=cell)
    variables, lengths = randomized(model, TOKENS), np.array([2, 4, 1, 3, 4])
    whole, rows = apply(model, variables, TOKENS), np.arange(B)
    prompts = np.where(np.arange(4)[None] < lengths[:, None], TOKENS[:, :4], V - 1)
    carry, logits = apply(model, variables, {"tokens": prompts, "lengths": lengths}, capacity=9, method="start")
    close(logits, whole[rows, lengths - 1])
    carry, logits = apply(model, variables, carry, TOKENS[rows, lengths], method="step")
    close(logits, whole[rows, lengths])
    close(apply(model, variables, TOKENS, capacity=9, method="start")[1], whole[:, -1])


def test_greedy_writing_is_the_likeliest_continuation():
    variables = randomized(LANGUAGE, TOKENS)
    step = lambda carry, tokens: LANGUAGE.apply(variables, carry, tokens, method="step")  # noqa: E731
    found = jax.jit(lambda first: greedy(step, LANGUAGE.initial_carry(B), first, end=V - 1, steps=4))(TOKENS[:, 0])
    text = np.concatenate([TOKENS[:, :1], found.tokens], axis=1)
    likeliest = apply(LANGUAGE, variables, text).argmax(-1)
    for row, length in enumerate(found.lengths):
        np.testing.assert_array_equal(likeliest[row, :length], found.tokens[row, :length])


@pytest.mark.parametrize("cell", CELLS)
def test_parameters_are_as_many_as_the_formula_says(cell):
    gates, extra = {"rnn": 1, "lstm": 4, "gru": 3}[cell], H if cell == "gru" else 0
    layer = lambda width: gates * H * (width + H + 1) + extra  # noqa: E731
    language = LANGUAGE.clone(cell=cell)
    assert count(language, TOKENS) == V * 5 + layer(5) + layer(H) + V * H + V
    assert count(language.clone(embedding=H, tied=True), TOKENS) == V * H + 2 * layer(H) + V
    classifier = CLASSIFIER.clone(cell=cell)
    assert count(classifier, TOKENS) == V * 5 + 2 * layer(5) + 2 * layer(2 * H) + (2 * H + 1) * 3
    assert count(classifier.clone(vocabulary=None), X) == 2 * layer(D) + 2 * layer(2 * H) + (2 * H + 1) * 3


@pytest.mark.parametrize("name", MODELS)
def test_dropout_acts_in_training_alone_and_its_rate_maps(name):
    model = MODELS[name]
    variables, rngs = randomized(model, TOKENS), {"dropout": jax.random.key(0)}
    plain = apply(model, variables, INPUTS)
    np.testing.assert_array_equal(apply(model.clone(dropout=0.5), variables, INPUTS), plain)
    np.testing.assert_array_equal(apply(model, variables, INPUTS, train=True), plain)
    trained = lambda rate: model.clone(dropout=rate).apply(variables, INPUTS, train=True, rngs=rngs)  # noqa: E731
    together = jax.jit(jax.vmap(trained))(jnp.array([0.0, 0.5]))
    close(together[0], plain)
    close(together[1], jax.jit(trained)(0.5))
    assert np.abs(together[1] - plain).max() > 0.01


@pytest.mark.parametrize("name", MODELS)
def test_initialization_and_a_step_lower_for_every_device(name):
    model = MODELS[name].clone(dropout=0.3)
    loss = lambda v: model.apply(v, INPUTS, train=True, rngs={"dropout": jax.random.key(0)}).sum()  # noqa: E731
    step = jax.jit(jax.value_and_grad(loss)).trace(randomized(model, TOKENS))
    start = jax.jit(model.init).trace(jax.random.key(0), TOKENS)
    assert all(traced.lower(lowering_platforms=("cpu", "cuda", "tpu")) for traced in (step, start))


def trained(model, tokens, label, steps):
    """Loss and accuracy at every step of training on one batch."""
    variables, optimizer = jax.jit(model.init)(jax.random.key(0), tokens), optax.adam(0.02)

    def loss(variables):
        logits = apply(model, variables, tokens)
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, label).mean()
        return cross_entropy, (logits.argmax(-1) == label).mean()

    def update(state, _):
        variables, moments = state
        measured, gradient = jax.value_and_grad(loss, has_aux=True)(variables)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(variables, updates), moments), measured

    run = jax.jit(lambda state: jax.lax.scan(update, state, length=steps))
    return run((variables, optimizer.init(variables)))[1]


@pytest.mark.slow
@pytest.mark.parametrize("cell, dtype", [("lstm", "bfloat16"), ("gru", "float32")])
def test_it_learns_to_remember_the_first_token(cell, dtype):
    tokens = np.random.default_rng(1).integers(0, 5, (128, 11)).astype(np.int32)
    model = RecurrentClassifier(classes=5, vocabulary=5, embedding=8, hidden=16, cell=cell, dtype=dtype)
    losses, accuracies = trained(model, tokens, tokens[:, 0], 200)
    assert np.isfinite(losses).all() and accuracies[-1] > 0.95, (losses[-1], accuracies[-1])


@pytest.mark.parametrize("cell, dtype", [("rnn", "float32"), ("lstm", "bfloat16")])
def test_the_language_model_learns_to_count(cell, dtype):
    text = ((np.arange(9)[None] + np.arange(7)[:, None]) % 7).astype(np.int32)
    model = RecurrentLanguageModel(vocabulary=7, embedding=16, hidden=16, cell=cell, dtype=dtype, tied=True)
    losses, accuracies = trained(model, text[:, :-1], text[:, 1:], 60)
    assert np.isfinite(losses).all() and accuracies[-1] > 0.95, (losses[-1], accuracies[-1])


def test_what_does_not_fit_is_refused():
    init = lambda model, inputs: jax.eval_shape(model.init, jax.random.key(0), inputs)  # noqa: E731
    for model, inputs, message in [
        (LANGUAGE.clone(tied=True), TOKENS, "embedding is 5, hidden 11"),
        (LANGUAGE, X, r"tokens must be \[b, l\], not of shape \(5, 7, 3\)"),
        (CLASSIFIER, {"features": X}, 'the model reads "tokens", but its inputs are features'),
        (CLASSIFIER.clone(vocabulary=None), {}, 'the model reads "features", but its inputs are empty'),
        (CLASSIFIER, {"tokens": TOKENS, "lengths": LENGTHS[:2]}, "lengths must be 5 integers, one per sequence"),
        (CLASSIFIER, X[..., 0], "tokens must be integers, not float32; for features set vocabulary to None"),
    ]:
        with pytest.raises(UsageError, match=message):
            init(model, inputs)
