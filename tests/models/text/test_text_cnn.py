from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from research.errors import UsageError
from research.models.text.text_cnn import CNN1D, TextCNN

B, L, V, D = 5, 7, 13, 3
generator = np.random.default_rng(0)
TOKENS = generator.integers(0, V, (B, L)).astype(np.int32)
X = generator.normal(size=(B, L, D)).astype(np.float32)
LENGTHS = np.array([4, 7, 1, 6, 2], np.int32)
TEXT = TextCNN(V, classes=3, embedding=5, windows=(2, 3), filters=11, dropout=0.0)
SERIES = CNN1D(classes=3, channels=(5, 11), kernel=3, dilation=2)
CASES = {
    "text": (TEXT, {"tokens": TOKENS, "lengths": LENGTHS}),
    "series": (SERIES, {"features": X, "lengths": LENGTHS}),
}
close = partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-5)


def apply(model, *inputs, **keywords):
    """What a model gives, compiled as one program."""
    return jax.jit(partial(model.apply, **keywords))(*inputs)


def randomized(model, inputs, seed=0):
    """Parameters of the model's shapes, biases random too."""
    shapes = jax.eval_shape(model.init, jax.random.key(0), inputs)
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(generator.normal(size=leaf.shape) * 0.5, leaf.dtype), shapes)


def double(params):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)


def text_by_hand(params, tokens, length):
    """Kim's equations for one text, in float64."""
    x = params["embed"]["embedding"][tokens[:length]]
    pooled = []
    for index, width in enumerate(TEXT.windows):
        padded = np.concatenate([x, np.zeros((max(0, width - len(x)), x.shape[1]))])
        layer = params[f"window_{index}"]
        answers = [
            np.einsum("wd,wdf->f", padded[i : i + width], layer["kernel"]) + layer["bias"]
            for i in range(len(padded) - width + 1)
        ]
        pooled.append(np.maximum(answers, 0).max(0))
    return np.concatenate(pooled) @ params["logits"]["kernel"] + params["logits"]["bias"]


def series_by_hand(params, x, length, pooling):
    """Convolutions of one series alone, in float64."""
    x = x[:length].astype(np.float64)
    for index in range(2):
        layer, reach = params[f"block_{index}"], 2**index
        padded = np.pad(x, ((reach, reach), (0, 0)))
        x = sum(padded[i * reach : i * reach + length] @ layer["kernel"][i] for i in range(3)) + layer["bias"]
        x = np.maximum(x, 0)
    pooled = x.mean(0) if pooling == "mean" else x.max(0)
    return pooled @ params["logits"]["kernel"] + params["logits"]["bias"]


def test_text_cnn_is_its_equations():
    variables = randomized(TEXT, TOKENS)
    logits = apply(TEXT, variables, CASES["text"][1])
    params = double(variables["params"])
    close(logits, [text_by_hand(params, *pair) for pair in zip(TOKENS, LENGTHS, strict=True)])
    close(apply(TEXT, variables, TOKENS), [text_by_hand(params, tokens, L) for tokens in TOKENS])


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_the_series_network_is_its_equations(pooling):
    model = SERIES.clone(pooling=pooling)
    variables = randomized(model, X)
    logits = apply(model, variables, CASES["series"][1])
    params = double(variables["params"])
    close(logits, [series_by_hand(params, *pair, pooling) for pair in zip(X, LENGTHS, strict=True)])
    close(apply(model, variables, X), [series_by_hand(params, x, L, pooling) for x in X])


def test_a_text_shorter_than_every_window_is_filled_up():
    variables = randomized(TEXT, TOKENS)
    close(apply(TEXT, variables, TOKENS[:, :1])[0], text_by_hand(double(variables["params"]), TOKENS[0], 1))


@pytest.mark.parametrize("name", CASES)
def test_padding_changes_nothing(name):
    model, inputs = CASES[name]
    variables = randomized(model, inputs)
    padding = np.arange(L)[None] >= LENGTHS[:, None]
    key = "tokens" if name == "text" else "features"
    dirty = np.where(padding, V + 99, TOKENS) if name == "text" else np.where(padding[..., None], np.nan, X)

    @jax.jit
    def everything(sequence):
        loss = lambda variables: (apply(model, variables, {**inputs, key: sequence}) ** 2).sum()  # noqa: E731
        return jax.value_and_grad(loss)(variables)

    jax.tree.map(np.testing.assert_array_equal, everything(inputs[key]), everything(dirty.astype(inputs[key].dtype)))
    wider = np.pad(dirty, [(0, 0), (0, 4), *[(0, 0)] * (dirty.ndim - 2)]).astype(inputs[key].dtype)
    close(apply(model, variables, {**inputs, key: wider}), apply(model, variables, inputs))


@pytest.mark.parametrize("name", CASES)
def test_the_gradient_reaches_every_parameter(name):
    model, inputs = CASES[name]
    variables = randomized(model, inputs)
    gradient = jax.jit(jax.grad(lambda v: (model.apply(v, inputs) ** 2).sum()))(variables)
    for path, leaf in jax.tree_util.tree_leaves_with_path(gradient):
        assert np.isfinite(leaf).all() and (leaf != 0).mean() > 0.5, path


def test_parameters_are_as_many_as_the_formula_says():
    count = lambda model, inputs: sum(  # noqa: E731
        leaf.size for leaf in jax.tree.leaves(jax.eval_shape(model.init, jax.random.key(0), inputs))
    )
    assert count(TEXT, TOKENS) == V * 5 + (2 * 5 + 1) * 11 + (3 * 5 + 1) * 11 + (2 * 11 + 1) * 3
    assert count(TextCNN(), TOKENS) == 10000 * 300 + 100 * (12 * 300 + 3) + 301 * 2
    assert count(SERIES, X) == (3 * D + 1) * 5 + (3 * 5 + 1) * 11 + (11 + 1) * 3


@pytest.mark.parametrize("name", CASES)
def test_dropout_acts_in_training_alone_and_its_rate_maps(name):
    model, inputs = CASES[name]
    variables, rngs = randomized(model, inputs), {"dropout": jax.random.key(0)}
    plain = apply(model, variables, inputs)
    np.testing.assert_array_equal(apply(model.clone(dropout=0.5), variables, inputs), plain)
    np.testing.assert_array_equal(apply(model, variables, inputs, train=True), plain)
    trained = lambda rate: model.clone(dropout=rate).apply(variables, inputs, train=True, rngs=rngs)  # noqa: E731
    together = jax.jit(jax.vmap(trained))(jnp.array([0.0, 0.5]))
    close(together[0], plain)
    close(together[1], jax.jit(trained)(0.5))
    assert np.abs(together[1] - plain).max() > 0.01


@pytest.mark.parametrize("name", CASES)
def test_a_step_lowers_for_every_device(name):
    model, inputs = CASES[name]
    model = model.clone(dropout=0.3)
    loss = lambda v: model.apply(v, inputs, train=True, rngs={"dropout": jax.random.key(0)}).sum()  # noqa: E731
    traced = jax.jit(jax.value_and_grad(loss)).trace(randomized(model, inputs))
    assert all(traced.lower(lowering_platforms=(platform,)) for platform in ("cpu", "cuda", "tpu"))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", CASES)
def test_it_learns_whether_something_occurs(name, dtype):
    model = CASES[name][0].clone(classes=2, dtype=dtype, **({} if name == "text" else {"pooling": "max"}))
    inputs = generator.integers(0, V, (64, L)) if name == "text" else generator.normal(size=(64, L, D))
    inputs = inputs.astype(np.int32 if name == "text" else np.float32)
    label = (inputs == 0).any(1) if name == "text" else (inputs[..., 0] > 1).any(1)
    variables, optimizer = jax.jit(model.init)(jax.random.key(0), inputs), optax.adam(0.03)

    def loss(variables):
        logits = apply(model, variables, inputs)
        cross_entropy = optax.softmax_cross_entropy_with_integer_labels(logits, label.astype(np.int32)).mean()
        return cross_entropy, (logits.argmax(-1) == label).mean()

    def update(state, _):
        variables, moments = state
        (value, accuracy), gradient = jax.value_and_grad(loss, has_aux=True)(variables)
        updates, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(variables, updates), moments), (value, accuracy)

    run = jax.jit(lambda state: jax.lax.scan(update, state, length=60))
    _, (losses, accuracies) = run((variables, optimizer.init(variables)))
    assert np.isfinite(losses).all() and accuracies[-1] > 0.95, (losses[-1], accuracies[-1])


def test_inputs_that_do_not_fit_are_refused():
    init = lambda model, inputs: jax.eval_shape(model.init, jax.random.key(0), inputs)  # noqa: E731
    for model, inputs, message in [
        (TEXT, X, r"tokens must be \[b, l\], not of shape \(5, 7, 3\)"),
        (TEXT, X[..., 0], "tokens must be integers, not float32"),
        (TEXT, {"features": X}, 'the model reads "tokens", but its inputs are features'),
        (TEXT, TOKENS[:0], r"tokens of shape \(0, 7\) are empty"),
        (TEXT, {"tokens": TOKENS, "lengths": LENGTHS[:3]}, r"lengths must be 5 integers, one per sequence"),
        (SERIES, TOKENS, r"features must be \[b, l, d\], not of shape \(5, 7\)"),
    ]:
        with pytest.raises(UsageError, match=message):
            init(model, inputs)
