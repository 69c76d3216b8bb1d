import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.errors import UsageError
from research.layers.sequences.attention import Attention, KeyValues, attention_weights, visible
from research.layers.sequences.positions import alibi

GOLDEN = np.load(pathlib.Path(__file__).parents[2] / "golden" / "transformer.npz")
B, L, S, D = 2, 7, 11, 12
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(B, L, D)).astype(np.float32)
MEMORY = RANDOM.normal(size=(B, S, D)).astype(np.float32)
KINDS = {
    "full": {},
    "causal": {"causal": True},
    "window": {"window": 2},
    "causal_window": {"causal": True, "window": 2},
    "padding": {},
    "causal_padding": {"causal": True},
    "bias": {},
    "cross": {},
    "cross_padding": {},
}


def close(a, b, tolerance=1e-5):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * max(np.abs(b).max(), 1)), a, b
    )


def golden(case):
    return {name.removeprefix(f"{case}/"): GOLDEN[name] for name in GOLDEN.files if name.startswith(f"{case}/")}


def dense(weight, bias):
    return {"kernel": weight.T, "bias": bias}


def from_torch(arrays, prefix):
    """Parameters, or their gradients, of torch.nn.MultiheadAttention as ours."""
    weights, biases = np.split(arrays[f"{prefix}/in_proj_weight"], 3), np.split(arrays[f"{prefix}/in_proj_bias"], 3)
    names = ("query", "key", "value")
    output = dense(arrays[f"{prefix}/out_proj.weight"], arrays[f"{prefix}/out_proj.bias"])
    return {name: dense(w, b) for name, w, b in zip(names, weights, biases, strict=True)} | {"output": output}


def randomized(model, *inputs, seed=0, **named):
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *inputs, **named))
    generator = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(generator.normal(size=leaf.shape) * 0.5, leaf.dtype), shapes)


@pytest.mark.parametrize("kind", KINDS)
def test_attention_its_weights_and_gradients_equal_those_of_torch(kind):
    arrays = golden(f"attention_{kind}")
    b, l, d = arrays["x"].shape
    lengths = np.array([11, 4] if kind.startswith("cross") else [5, 7])
    mask = np.arange(lengths.max())[None] < lengths[:, None] if "padding" in kind else None
    model = Attention(heads=3, **KINDS[kind])
    params = from_torch(arrays, "parameter")
    inputs = {"x": arrays["x"]}
    if "memory" in arrays:
        inputs["memory"] = arrays["memory"]
    if "bias" in arrays:
        inputs["bias"] = arrays["bias"].reshape(b, 3, l, l)

    def run(params, inputs, **options):
        return model.apply({"params": params}, **inputs, mask=mask, **options)

    def loss(params, inputs):
        y, _ = run(params, inputs)
        return (arrays["weight_y"] * y).sum(), y

    (_, y), gradients = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(params, inputs)
    close(y, arrays["y"])
    close(gradients[0], from_torch(arrays, "gradient"))
    close(gradients[1], {name: arrays[f"gradient/{name}"].reshape(leaf.shape) for name, leaf in inputs.items()})
    (unfused, _), kept = jax.jit(lambda p: run(p, inputs, mutable=["intermediates"]))(params)
    close(kept["intermediates"]["weights"][0], arrays["weights"])
    close(unfused, arrays["y"])


def test_attention_with_alibi_equals_bloom():
    """Bloom's scores are slope * key; for one query they differ from -slope * distance by a constant alone."""
    arrays = golden("bloom")
    b, l, d = arrays["x"].shape
    model, positions = Attention(heads=6, causal=True), jnp.arange(l)[None]

    def split(prefix):
        weight = arrays[f"{prefix}/query_key_value.weight"].reshape(6, 3, 3, d)
        bias = arrays[f"{prefix}/query_key_value.bias"].reshape(6, 3, 3)
        parts = {
            n: dense(weight[:, i].reshape(d, d), bias[:, i].reshape(d)) for i, n in enumerate(("query", "key", "value"))
        }
        return parts | {"output": dense(arrays[f"{prefix}/dense.weight"], arrays[f"{prefix}/dense.bias"])}

    def loss(params, x):
        y, _ = model.apply({"params": params}, x, bias=alibi(6, positions, positions))
        return (arrays["weight_y"] * y).sum(), y

    (_, y), (params, x) = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))(
        split("parameter"), arrays["x"]
    )
    close(y, arrays["y"])
    close(x, arrays["gradient/x"])
    close(params, split("gradient"))


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_grouped_queries_equal_multi_head_attention_with_repeated_heads(groups):
    model = Attention(heads=6, key_value_heads=groups)
    variables = randomized(model, X)
    assert variables["params"]["key"]["kernel"].shape == (D, groups * D // 6)

    def repeat(leaf):
        return jnp.repeat(leaf.reshape(-1, groups, D // 6), 6 // groups, axis=1).reshape(*leaf.shape[:-1], D)

    params = variables["params"]
    wide = {**params, **{name: jax.tree.map(repeat, params[name]) for name in ("key", "value")}}
    y, known = model.apply(variables, X)
    expected, _ = Attention(heads=6).apply({"params": wide}, X)
    assert known.keys.shape == (B, L, groups, D // 6)
    close(y, expected)
    (unfused, _), _ = model.apply(variables, X, mutable=["intermediates"])
    close(unfused, expected)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("window", [None, 1, 3])
@pytest.mark.parametrize("rotary", [True, False])
def test_a_token_is_reached_by_exactly_those_it_may_see(causal, window, rotary):
    model = Attention(heads=3, causal=causal, window=window, rotary=rotary)
    variables = randomized(model, X)
    jacobian = jax.jit(jax.jacrev(lambda x: model.apply(variables, x)[0]))(X[:1])  # [1, l, d, 1, l, d]
    reached = np.abs(jacobian).sum((0, 2, 3, 5)) > 0
    i, j = np.indices((L, L))
    np.testing.assert_array_equal(reached, ((j <= i) | (not causal)) & (np.abs(i - j) <= (window or L)))
    seen = visible(jnp.arange(L)[None], jnp.arange(L)[None], causal, window)
    np.testing.assert_array_equal(seen[0, 0], reached)


@pytest.mark.parametrize("cross", [True, False])
def test_what_the_mask_hides_changes_nothing(cross):
    model = Attention(heads=3)
    source = MEMORY if cross else X
    mask = np.arange(source.shape[1])[None] < np.array([[3], [source.shape[1]]])
    garbage = np.where(mask[..., None], source, 1e6)
    variables = randomized(model, X)

    def run(source):
        return model.apply(variables, X if cross else source, source if cross else None, mask=mask)[0]

    clean, dirty = jax.jit(run)(source), jax.jit(run)(garbage)
    np.testing.assert_array_equal(clean[:, :3], dirty[:, :3])
    influence = jax.jit(jax.grad(lambda source: run(source)[:, :3].sum()))(source)
    np.testing.assert_array_equal(np.abs(influence).sum(-1) > 0, mask)


def test_a_row_without_any_key_gives_finite_numbers():
    model = Attention(heads=3)
    variables = randomized(model, X)
    run = jax.jit(jax.value_and_grad(lambda x: model.apply(variables, x, mask=jnp.zeros((B, L), bool))[0].sum()))
    value, gradient = run(X)
    assert np.isfinite(value) and np.isfinite(gradient).all()


def test_weights_are_softmax_of_scaled_products_by_hand():
    query = np.array([[1.0, 0.0], [0.0, 2.0]], np.float32).reshape(1, 2, 1, 2)
    key = np.array([[3.0, 1.0], [1.0, 1.0]], np.float32).reshape(1, 2, 1, 2)
    scores = np.array([[3.0, 1.0], [2.0, 2.0]]) / np.sqrt(2)
    expected = np.exp(scores) / np.exp(scores).sum(1, keepdims=True)
    np.testing.assert_allclose(attention_weights(query, key)[0, 0], expected, rtol=1e-6)
    hidden = attention_weights(query, key, np.array([[[[True, False], [True, True]]]]))
    np.testing.assert_allclose(hidden[0, 0], [[1, 0], [0.5, 0.5]], rtol=1e-6)


def test_normalized_queries_and_keys_do_not_depend_on_their_size():
    model = Attention(heads=3, qk_norm=True, bias=False)
    variables = model.init(jax.random.key(0), X)
    params = variables["params"]
    assert params["query_norm"]["scale"].shape == params["key_norm"]["scale"].shape == (4,)
    larger = {**params, "query": jax.tree.map(lambda x: 30 * x, params["query"])}
    close(model.apply({"params": larger}, X)[0], model.apply(variables, X)[0], 1e-3)
    plain = Attention(heads=3, bias=False)
    assert np.abs(plain.apply({"params": larger}, X)[0] - plain.apply({"params": params}, X)[0]).max() > 0.01


def test_dropout_zeroes_weights_in_training_alone():
    model = Attention(heads=3, dropout=0.5)
    variables = randomized(model, X)
    plain = Attention(heads=3).apply(variables, X)[0]
    np.testing.assert_array_equal(model.apply(variables, X)[0], plain)
    np.testing.assert_array_equal(Attention(heads=3).apply(variables, X, train=True)[0], plain)

    def run(rate, key):
        return Attention(heads=3, dropout=rate).apply(variables, X, train=True, rngs={"dropout": key})[0]

    close(run(1e-30, jax.random.key(0)), plain)  # the plain products equal the fused kernel
    one, again, other = (jax.jit(run)(0.5, jax.random.key(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 0.01
    many = jax.jit(jax.vmap(run, in_axes=(None, 0)))(0.2, jax.random.split(jax.random.key(0), 2000))
    np.testing.assert_allclose(many.mean(0), plain, atol=6 * float(many.std(0).max()) / 2000**0.5)
    rates = jnp.array([0.1, 0.6])
    mapped = jax.vmap(run, in_axes=(0, None))(rates, jax.random.key(3))
    close(mapped[1], run(0.6, jax.random.key(3)))


@pytest.mark.parametrize("options", [{}, {"rotary": True}, {"window": 2, "qk_norm": True, "key_value_heads": 1}])
def test_a_cache_gives_what_the_whole_gives(options):
    """Tokens in pieces of 3, 1 and 3, over a cache that holds garbage, the second row two positions behind."""
    model = Attention(heads=3, causal=True, **options)
    variables = randomized(model, X)
    expected, known = model.apply(variables, X)
    room = jnp.full((B, 13, *known.keys.shape[2:]), 1e6)
    cache, pieces = KeyValues(room, room), []
    run = jax.jit(lambda x, positions, cache: model.apply(variables, x, positions=positions, cache=cache))
    behind = np.concatenate([X[1, :2], X[1]])[:L]  # row 1 is told its first two tokens again
    tokens = np.stack([X[0], behind])
    for start, end in ((0, 3), (3, 4), (4, 7)):
        positions = jnp.arange(start, end)[None] - jnp.array([[0], [2]])
        piece, cache = run(tokens[:, start:end], jnp.maximum(positions, 0), cache)
        pieces.append(piece)
    y = np.concatenate(pieces, axis=1)
    close(y[0], expected[0])
    close(y[1, 3:], expected[1, 1:5])
    close(cache.keys[0, :L], known.keys[0])
    np.testing.assert_array_equal(cache.values[0, L:], room[0, L:])


def test_a_memory_may_be_projected_beforehand():
    model = Attention(heads=3)
    variables = randomized(model, X, MEMORY)
    y, known = model.apply(variables, X, MEMORY)
    again, _ = model.apply(variables, X, known)
    np.testing.assert_array_equal(y, again)


def test_the_kernel_is_told_what_it_can_skip(monkeypatch):
    told = {}

    def kernel(query, key, value, **options):
        told.update(options)
        return query

    monkeypatch.setattr(jax.nn, "dot_product_attention", kernel)
    model = Attention(heads=3, causal=True, window=2, implementation="cudnn")
    model.init(jax.random.key(0), X)
    assert told == {
        "bias": None,
        "mask": None,
        "is_causal": True,
        "local_window_size": (2, 0),
        "implementation": "cudnn",
    }


def test_bfloat16_is_the_precision_of_the_computation_alone():
    model = Attention(heads=3, causal=True, rotary=True, qk_norm=True, dtype="bfloat16")
    variables = randomized(model, X)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    y, known = jax.jit(model.apply)(variables, X)
    exact, _ = model.clone(dtype="float32").apply(variables, X)
    assert y.dtype == known.keys.dtype == jnp.bfloat16
    assert 0 < np.abs(y - exact).max() < 0.05 * np.abs(exact).max()


@pytest.mark.parametrize(
    "model, call, message",
    [
        (Attention(heads=5), {}, "heads=5 does not divide width=12"),
        (Attention(heads=6, key_value_heads=4), {}, "key_value_heads=4 does not divide heads=6"),
        (Attention(heads=4, rotary=True), {}, "heads of even width, not 3"),
        (Attention(heads=3), {"mask": np.ones((B, L + 1), bool)}, r"mask must be \[b, s\] = \[2, 7\], not \[2, 8\]"),
        (Attention(heads=3), {"mask": np.ones((1, L), bool)}, r"mask must be \[b, s\] = \[2, 7\], not \[1, 7\]"),
        (Attention(heads=3), {"mask": np.ones((B, L))}, "mask must be boolean, True where a key counts, not float"),
        (Attention(heads=3), {"memory": MEMORY, "mask": np.ones((B, L), bool)}, r"\[2, 11\], not \[2, 7\]"),
        (Attention(heads=3), {"bias": np.ones((L, L))}, r"bias must be \[b, h, l, s\] = \[2, 3, 7, 7\], not \[7, 7\]"),
        (Attention(heads=3), {"bias": np.ones((1, 3, 1, L))}, r"bias must be \[b, h, l, s\]"),
        (Attention(heads=3), {"cache": KeyValues(np.ones((B, 9, 3, 4)), np.ones((B, 9, 3, 4)))}, "needs causal=True"),
    ],
)
def test_what_does_not_fit_is_refused(model, call, message):
    with pytest.raises(UsageError, match=message):
        jax.eval_shape(lambda: model.init(jax.random.key(0), X, **call))
