from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.errors import UsageError
from research.interchange import names
from research.models.images.patches.vit import ViT, vit
from research.models.text.transformer import TransformerClassifier
from tests.golden.comparison import assert_golden, parameters

X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 6, 9, 2)), jnp.float32)


def tiny(**fields):
    return ViT(**{"patch": 3, "layers": 2, "width": 12, "heads": 3, "classes": 7, **fields})


def drawn(model, x=X, seed=0):
    """Random parameters: at initialization the class token and the biases are zero."""
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), x))["params"]
    generator = np.random.default_rng(seed)
    return {
        "params": jax.tree.map(lambda leaf: jnp.asarray(generator.normal(size=leaf.shape) * 0.3, "float32"), shapes)
    }


@pytest.mark.parametrize(("name", "pooling"), [("vit", "class"), ("vit_mean", "mean")])
def test_logits_equal_those_of_timm(name, pooling):
    assert_golden(vit("S/16", classes=10, pooling=pooling), "patches", name, 64, 64)


def test_published_sizes_have_the_published_number_of_parameters():
    published = {
        "Ti/16": 5_717_416,
        "S/16": 22_050_664,
        "S/32": 22_878_952,
        "B/16": 86_567_656,
        "B/32": 88_224_232,
        "L/16": 304_326_632,
        "L/32": 306_535_400,
        "H/14": 632_045_800,
    }
    assert {size: parameters(vit(size, scan=True), 224, 224) for size in published} == published


def test_an_image_that_the_patch_does_not_divide_is_refused():
    with pytest.raises(UsageError, match="images of 6 x 9 cannot be cut into patches of 4 x 4"):
        tiny(patch=4).init(jax.random.key(0), X)


def test_learned_positions_are_for_one_number_of_patches_and_computed_ones_for_any():
    x = X[:, :, :6]
    with pytest.raises(UsageError, match="another number of patches than 2 x 2"):
        tiny().apply(drawn(tiny()), x)
    model = tiny(positions="sinusoidal_2d")
    assert jax.eval_shape(model.apply, drawn(model), x).shape == (5, 7)


def permuted(x):
    """Exchange two patches."""
    return x.at[:, 3:, 6:].set(x[:, :3, :3]).at[:, :3, :3].set(x[:, 3:, 6:])


@pytest.mark.parametrize("pooling", ["class", "mean"])
def test_positions_alone_tell_where_a_patch_stands(pooling):
    for positions in ("none", "learned", "sinusoidal_2d"):
        model = tiny(pooling=pooling, positions=positions, layers=1)
        logits, other = jax.jit(jax.vmap(model.apply, (None, 0)))(drawn(model), jnp.stack([X, permuted(X)]))
        assert np.allclose(logits, other, atol=1e-5) == (positions == "none")


def test_a_patch_is_the_product_of_its_pixels_and_one_matrix():
    model = tiny(positions="none")
    variables = drawn(model)
    _, found = model.apply(variables, X, mutable=["intermediates"])
    dense = variables["params"]["embedding"]["projection"]
    expected = np.einsum("bijc,ijcd->bd", X[:, 3:, 6:], dense["kernel"]) + np.asarray(dense["bias"])
    (stem,) = found["intermediates"]["stem_output"]
    assert stem.shape == (5, 2, 3, 12)
    np.testing.assert_allclose(stem[:, 1, 2], expected, rtol=1e-4, atol=1e-5)


def test_every_block_gives_its_output_and_its_attention_weights():
    _, found = tiny().apply(drawn(tiny()), X, mutable=["intermediates"])
    for layer in ("layer_0", "layer_1"):
        sown = found["intermediates"]["encoder"][layer]
        (weights,), (output,) = sown["attention"]["weights"], sown["output"]
        assert weights.shape == (5, 3, 7, 7) and output.shape == (5, 7, 12)
        np.testing.assert_allclose(weights.sum(axis=-1), 1.0, rtol=1e-5)
    assert found["intermediates"]["pooled"][0].shape == (5, 12)


def test_a_representation_is_one_more_layer_before_the_logits():
    model = tiny(representation=5)
    variables = drawn(model)
    _, found = model.apply(variables, X, mutable=["intermediates"])
    (pooled,), dense = found["intermediates"]["pooled"], variables["params"]["representation"]
    assert pooled.shape == (5, 5) and dense["kernel"].shape == (12, 5)
    assert np.all(np.abs(pooled) < 1)


@pytest.mark.parametrize("remat", ["none", "full"])
def test_each_branch_of_an_example_is_left_out_or_kept(remat):
    """The second of two blocks has rate 0.5: a branch is twice itself or nothing."""
    whole = tiny(positions="none", pooling="mean", remat=remat)
    model = whole.clone(stochastic_depth=0.5)
    variables = drawn(whole)

    def streams(model, x, **kwargs):
        apply = jax.jit(lambda x: model.apply(variables, x, mutable=["intermediates"], **kwargs)[1])
        encoder = apply(x)["intermediates"]["encoder"]
        return [encoder[f"layer_{layer}"]["output"][0] for layer in range(2)]

    x = jnp.repeat(X[:1], 64, axis=0)
    first, second = streams(model, x, train=True, rngs={"dropout": jax.random.key(0)})
    np.testing.assert_array_equal(first, streams(whole, x)[0])  # the first block's rate is 0
    outcomes = np.unique(np.round(np.asarray(second - first)[:, 0, 0], 4))
    assert len(outcomes) == 4  # attention or not, and then feed-forward or not
    assert np.min(np.abs(outcomes)) == 0
    for one, other in zip(streams(model, X), streams(whole, X), strict=True):
        np.testing.assert_array_equal(one, other)  # evaluation leaves nothing out


def test_stochastic_depth_works_where_blocks_are_one_loop():
    model = tiny(scan=True, stochastic_depth=0.999999)
    variables = drawn(model)

    @jax.jit
    def outputs(rate):
        variant = model.clone(stochastic_depth=rate)
        _, found = variant.apply(
            variables, X, train=True, rngs={"dropout": jax.random.key(0)}, mutable=["intermediates"]
        )
        return found["intermediates"]["encoder"]["layers"]["output"][0]

    first, second = outputs(0.999999)
    np.testing.assert_array_equal(first, second)  # the last block is left out, the first never is
    whole, _ = model.clone(stochastic_depth=0.0).apply(variables, X, mutable=["intermediates"])[1]["intermediates"][
        "encoder"
    ]["layers"]["output"][0]
    np.testing.assert_allclose(first, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fields", [{}, {"scan": True}, {"remat": "dots"}])
def test_stochastic_depth_that_is_off_is_no_part_of_the_program(fields):
    def program(model, **kwargs):
        tokens = np.zeros((2, 3), np.int32)
        variables = jax.eval_shape(lambda: model.init(jax.random.key(0), tokens))
        return str(jax.make_jaxpr(lambda v: model.apply(v, tokens, train=True, **kwargs))(variables))

    model = TransformerClassifier(layers=2, width=12, heads=3, **fields)
    assert "random_bits" not in program(model)
    assert "random_bits" in program(model.clone(stochastic_depth=0.1), rngs={"dropout": jax.random.key(0)})


@partial(jax.jit, static_argnums=1)
def step(params, model):
    """The loss, and the parameters after a step that descends it."""

    def loss(params):
        logits = model.apply({"params": params}, X, train=True, rngs={"dropout": jax.random.key(0)})
        return -jax.nn.log_softmax(logits)[jnp.arange(5), jnp.arange(5)].mean()

    value, gradient = jax.value_and_grad(loss)(params)
    return value, jax.tree.map(lambda p, g: p - 0.1 * g, params, gradient)


def assert_learns(model, steps=40):
    params = jax.jit(model.init)(jax.random.key(0), X)["params"]
    first, _ = step(params, model)
    for _ in range(steps):
        loss, params = step(params, model)
    assert loss < 0.1 * first


def test_a_step_in_bfloat16_is_finite_and_a_small_model_learns():
    narrow = tiny(layers=1, dtype="bfloat16", dropout=0.1, stochastic_depth=0.1)
    chex.assert_tree_all_finite(step(drawn(narrow)["params"], narrow))
    assert_learns(tiny(layers=1))


@pytest.mark.parametrize("fields", [{"scan": True}, {"key_value_heads": 1}, {"norm_placement": "post"}])
def test_what_timm_does_not_have_has_no_names(fields):
    with pytest.raises(UsageError, match=f"timm has no vision Transformer with model.{next(iter(fields))}"):
        names(tiny(**fields))
