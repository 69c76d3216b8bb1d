import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.errors import UsageError
from research.models import ConvNeXt, convnext
from tests.golden.comparison import assert_golden, parameters
from tests.models.images.small_images import drawn, shapes

X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 11, 13, 2)), jnp.float32)


def initial(model, x):
    return jax.jit(model.init)(jax.random.key(0), x)


def tiny(**fields):
    return ConvNeXt(**{"channels": (6, 10), "blocks": (1, 2), "stem": "small", "layer_scale": 1.0, **fields})


def outputs(model, variables, x=X):
    found = jax.jit(lambda: model.apply(variables, x, mutable=["intermediates"]))()[1]["intermediates"]
    return {name: value[0] for name, value in found.items()}


def test_logits_equal_those_of_torchvision():
    assert_golden(convnext("tiny"), "mobile", "convnext_tiny", 67, 58)


def test_published_sizes_have_the_published_number_of_parameters():
    published = {"tiny": 28_589_128, "small": 50_223_688, "base": 88_591_464, "large": 197_767_336}
    assert {size: parameters(convnext(size)) for size in published} == published


def test_blocks_without_a_branch_are_the_identity_where_they_are_residual():
    model = tiny(channels=(7,), blocks=(2,))
    variables = drawn(model, X)
    variables["params"]["stage_0"] = {
        name: {**block, "layer_scale": 0 * block["layer_scale"]}
        for name, block in variables["params"]["stage_0"].items()
    }
    found = outputs(model, variables)
    np.testing.assert_array_equal(found["stem_output"], found["stage_0_output"])
    assert not np.any(outputs(model.clone(residual=False), variables)["stage_0_output"])


def test_the_layer_scale_begins_as_told_and_is_gone_at_zero():
    model, off = (tiny(channels=(7,), blocks=(2,), layer_scale=scale) for scale in (0.25, 0.0))
    params = initial(model, X)["params"]
    np.testing.assert_array_equal(params["stage_0"]["block_1"]["layer_scale"], np.full(7, 0.25, np.float32))
    with_ones, without = (
        {
            **params,
            "stage_0": {
                name: {part: leaf for part, leaf in block.items() if part != "layer_scale"} | scale
                for name, block in params["stage_0"].items()
            },
        }
        for scale in ({"layer_scale": jnp.ones(7)}, {})
    )
    assert jax.tree.structure({"params": without}) == jax.tree.structure(jax.eval_shape(off.init, jax.random.key(0), X))
    expected = jax.jit(off.apply)({"params": without}, X)
    np.testing.assert_allclose(jax.jit(model.apply)({"params": with_ones}, X), expected)


def test_a_block_mixes_pixels_within_its_kernel_and_no_further():
    model = tiny(channels=(5,), blocks=(1,), kernel=5)
    variables = initial(model, X)
    changed = (
        outputs(model, variables)["stage_0_output"]
        != outputs(model, variables, X.at[:, 5, 6].add(1.0))["stage_0_output"]
    )
    rows, columns = np.nonzero(np.asarray(changed).any(axis=(0, 3)))
    # 3 x 3 pixels by the stem, then 2 more on each side
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (2, 8, 3, 9)


def test_a_full_convolution_has_a_kernel_for_every_pair_of_channels():
    for depthwise, shape in ((True, (7, 7, 1, 6)), (False, (7, 7, 6, 6))):
        block = jax.eval_shape(tiny(depthwise=depthwise).init, jax.random.key(0), X)["params"]["stage_0"]["block_0"]
        assert block["spatial"]["convolution"]["kernel"].shape == shape


def test_stages_halve_the_image():
    model = ConvNeXt(channels=(3, 5, 7), blocks=(1, 1, 1))
    x = jnp.zeros((1, 43, 53, 1))
    assert shapes(model, x) == {
        "stem_output": (1, 10, 13, 3),
        "stage_0_output": (1, 10, 13, 3),
        "stage_1_output": (1, 5, 6, 5),
        "stage_2_output": (1, 2, 3, 7),
        "pooled": (1, 7),
    }
    small = shapes(ConvNeXt(stem="small", blocks=(1, 1, 1, 1)), jnp.zeros((1, 28, 28, 1)))
    assert small["stage_3_output"] == (1, 3, 3, 768)


def test_an_image_that_cannot_be_halved_so_often_is_refused():
    with pytest.raises(
        UsageError, match="an image of 28 x 28 is too small for 4 stages, which need 32 x 32; use fewer"
    ):
        ConvNeXt().init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)))


@pytest.mark.parametrize("norm", ["layernorm", "batchnorm", "none"])
def test_every_form_gives_finite_gradients(norm):
    fields = {"activation": "relu", "stochastic_depth": 0.3, "standardized": norm == "none"}
    model = tiny(norm=norm, dtype="bfloat16", blocks=(1, 1), **fields)
    variables = drawn(model, X)

    def loss(params):
        state = {"batch_stats": variables.get("batch_stats", {})}
        rngs = {"dropout": jax.random.key(1)}
        logits, _ = model.apply({"params": params, **state}, X, train=True, mutable=["batch_stats"], rngs=rngs)
        return jnp.square(logits).mean()

    value, gradient = jax.jit(jax.value_and_grad(loss))(variables["params"])
    assert np.isfinite(value)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))
    assert ("batch_stats" in variables) == (norm == "batchnorm")
