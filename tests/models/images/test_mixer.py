import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.errors import UsageError
from research.models.images.patches.mixer import Mixer, mixer
from tests.golden.comparison import assert_golden, parameters
from tests.models.images.test_vit import assert_learns, drawn, step

X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 6, 9, 2)), jnp.float32)


def tiny(**fields):
    return Mixer(**{"patch": 3, "layers": 2, "width": 10, "token_width": 4, "classes": 7, **fields})


def test_logits_equal_those_of_timm():
    assert_golden(mixer("S/16", classes=10), "patches", "mixer", 64, 64)


def test_published_sizes_have_the_published_number_of_parameters():
    published = {
        "S/32": 19_104_624,
        "S/16": 18_528_264,
        "B/32": 60_293_428,
        "B/16": 59_880_472,
        "L/32": 206_939_264,
        "L/16": 208_196_168,
    }
    assert {size: parameters(mixer(size), 224, 224) for size in published} == published


def test_images_of_another_size_are_refused():
    with pytest.raises(UsageError, match="images of 6 x 9 cannot be cut into patches of 4 x 4"):
        tiny(patch=4).init(jax.random.key(0), X)
    with pytest.raises(UsageError, match="the parameters are for another number of patches than 2 x 2"):
        tiny().apply(drawn(tiny()), X[:, :, :6])


def outputs(model, variables, x=X, **kwargs):
    _, found = model.apply(variables, x, mutable=["intermediates"], **kwargs)
    return [found["intermediates"][f"layer_{layer}"]["output"][0] for layer in range(2)]


@pytest.mark.parametrize("token_mixing", [True, False])
def test_token_mixing_alone_lets_a_patch_see_the_others(token_mixing):
    model = tiny(token_mixing=token_mixing)
    variables = drawn(model)
    seen = jax.jit(jax.grad(lambda x: outputs(model, variables, x[None])[-1][0, 4].sum()))(X[0])  # patch (1, 1)
    own = np.zeros(seen.shape, bool)
    own[3:6, 3:6] = True
    assert np.all(seen[own] != 0)
    assert np.any(seen[~own]) == token_mixing


def test_both_parts_of_a_block_are_dense_layers_along_one_axis_each():
    model = tiny(layers=1, norm_epsilon=0.0)
    variables = drawn(model)
    _, found = model.apply(variables, X, mutable=["intermediates"])
    params, x = variables["params"]["layer_0"], found["intermediates"]["stem_output"][0].reshape(5, 6, 10)

    def mlp(x, name):
        hidden, output = params[name]["hidden"], params[name]["output"]
        return jax.nn.gelu(x @ hidden["kernel"] + hidden["bias"], approximate=False) @ output["kernel"] + output["bias"]

    def norm(x, name):
        centred = x - x.mean(axis=-1, keepdims=True)
        normal = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True))
        return normal * params[name]["scale"] + params[name]["bias"]

    with jax.numpy_rank_promotion("allow"):
        x = x + jnp.moveaxis(mlp(jnp.moveaxis(norm(x, "token_norm"), 1, 2), "token"), 2, 1)
        x = x + mlp(norm(x, "feed_forward_norm"), "feed_forward")
    np.testing.assert_allclose(found["intermediates"]["layer_0"]["output"][0], x, rtol=1e-4, atol=1e-4)


def test_without_residual_connections_a_block_is_its_last_branch():
    model = tiny(residual=False)
    variables = drawn(model)
    variables["params"]["layer_1"]["feed_forward"]["output"] = jax.tree.map(
        jnp.zeros_like, variables["params"]["layer_1"]["feed_forward"]["output"]
    )
    assert not np.any(outputs(model, variables)[1])
    assert np.any(outputs(tiny(), variables)[1])


def test_stochastic_depth_leaves_out_the_last_block_and_never_the_first():
    model, variables = tiny(stochastic_depth=0.999999), drawn(tiny())
    first, second = outputs(model, variables, train=True, rngs={"dropout": jax.random.key(0)})
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, outputs(tiny(), variables)[0])
    np.testing.assert_array_equal(outputs(model, variables)[1], outputs(tiny(), variables)[1])


def test_a_step_in_bfloat16_is_finite_and_a_small_model_learns():
    narrow = tiny(
        layers=1, dtype="bfloat16", norm="rmsnorm", feed_forward="swiglu", dropout=0.1, feed_forward_dropout=0.1
    )
    chex.assert_tree_all_finite(step(drawn(narrow)["params"], narrow))
    assert_learns(tiny(layers=1))
