import jax
import jax.numpy as jnp
import numpy as np

from research.models import MLP

B, D = 5, 12
X = np.random.default_rng(0).normal(size=(B, D)).astype(np.float32)
MODEL = MLP(hidden=(7, 3), classes=2)


def test_it_is_its_layers_one_after_another():
    variables = MODEL.init(jax.random.key(0), X)
    p = variables["params"]
    x, outputs = X, []
    for name in ("dense_0", "dense_1"):
        x = np.maximum(x @ p[name]["kernel"] + p[name]["bias"][None], 0)
        outputs.append(x)
    logits, state = MODEL.apply(variables, X, mutable=["intermediates"])
    np.testing.assert_allclose(logits, x @ p["logits"]["kernel"] + p["logits"]["bias"][None], rtol=1e-5, atol=1e-6)
    for index, output in enumerate(outputs):
        np.testing.assert_allclose(state["intermediates"][f"dense_{index}_output"][0], output, rtol=1e-5, atol=1e-6)
    assert sum(leaf.size for leaf in jax.tree.leaves(p)) == 13 * 7 + 8 * 3 + 4 * 2


def test_any_example_is_flattened():
    variables = MODEL.init(jax.random.key(0), X)
    expected = MODEL.apply(variables, X)
    for inputs in (X.reshape(B, 2, 3, 2), X.reshape(B, 4, 3)):
        np.testing.assert_array_equal(MODEL.apply(variables, inputs), expected)


def test_dropout_acts_in_training_alone_and_its_rate_maps():
    variables, rngs = MODEL.init(jax.random.key(0), X), {"dropout": jax.random.key(1)}
    plain = MODEL.apply(variables, X)
    np.testing.assert_array_equal(MODEL.clone(dropout=0.5).apply(variables, X), plain)
    trained = jax.vmap(lambda rate: MODEL.clone(dropout=rate).apply(variables, X, train=True, rngs=rngs))
    together = trained(jnp.array([0.0, 0.6]))
    np.testing.assert_allclose(together[0], plain, rtol=1e-5)
    assert np.abs(together[1] - plain).max() > 0.01


def test_bfloat16_gives_float32_logits_and_no_layer_is_linear():
    model = MODEL.clone(dtype="bfloat16", activation="gelu")
    variables = model.init(jax.random.key(0), X)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert model.apply(variables, X).dtype == jnp.float32
    linear = MLP(hidden=(), classes=3)
    variables = linear.init(jax.random.key(0), X)
    np.testing.assert_allclose(linear.apply(variables, 2 * X), 2 * linear.apply(variables, X), rtol=1e-5)
