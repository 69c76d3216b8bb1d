from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from research.errors import UsageError
from research.interchange import from_tensors, names, to_tensors
from research.models import (
    EfficientNet,
    MobileNet,
    MobileNetV2,
    MobileNetV3,
    efficientnet,
    efficientnet_lite,
    mobilenet,
    mobilenet_v2,
    mobilenet_v3,
)
from research.models.images.mobile.efficientnet_names import ported_names
from research.models.images.mobile.inverted_residual import InvertedResidual
from tests.golden.comparison import assert_golden, parameters
from tests.models.images.small_images import drawn

X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 11, 13, 2)), jnp.float32)

TINY = {
    MobileNet: {"channels": (8, 16), "blocks": (1, 2), "strides": (1, 2)},
    MobileNetV2: {"expansions": (1, 3), "channels": (8, 16), "blocks": (1, 2), "strides": (1, 2), "features": 24},
    MobileNetV3: {
        "kernels": (3, 5),
        "expanded": (16, 24),
        "channels": (8, 8),
        "squeezed": (True, False),
        "strides": (2, 1),
        "early": 1,
        "hidden": 40,
    },
    EfficientNet: {
        "kernels": (3, 5),
        "expansions": (1, 3),
        "channels": (8, 16),
        "blocks": (1, 2),
        "strides": (1, 2),
        "features": 24,
    },
}


def initial(model, x):
    return jax.jit(model.init)(jax.random.key(0), x)


def tiny(model, **fields):
    return model(**{**TINY[model], "stem": "small", **fields})


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("mobilenetv1_100", mobilenet(activation="relu6")),
        ("mobilenet_v2", mobilenet_v2()),
        ("mobilenet_v3_small", mobilenet_v3("small")),
        ("mobilenet_v3_large", mobilenet_v3("large")),
        ("efficientnet_b0", efficientnet("b0")),
        ("tf_efficientnet_lite0", efficientnet_lite(0)),
    ],
)
def test_logits_equal_those_of_torchvision_and_timm(name, model):
    assert_golden(model, "mobile", name, 67, 58)


@pytest.mark.slow
def test_published_sizes_have_the_published_number_of_parameters():
    assert [parameters(mobilenet(percent)) for percent in (100, 75, 50, 25)] == [
        4_231_976,
        2_585_560,
        1_331_592,
        470_072,
    ]
    assert parameters(mobilenet(depthwise=False)) == 29_294_088  # 29.3 million in table 4 of the paper
    assert parameters(mobilenet_v2()) == 3_504_872
    assert [parameters(mobilenet_v3(size)) for size in ("small", "large")] == [2_542_856, 5_483_032]
    assert [parameters(efficientnet(size)) for size in ("b0", "b1", "b2", "b3")] == [
        5_288_548,
        7_794_184,
        9_109_994,
        12_233_232,
    ]
    assert [parameters(efficientnet_lite(size)) for size in (0, 1, 2, 3, 4)] == [
        4_652_008,
        5_416_680,
        6_092_072,
        8_197_096,
        13_006_568,
    ]


@pytest.mark.slow
def test_the_largest_sizes_have_the_published_number_of_parameters():
    assert [parameters(efficientnet(size)) for size in ("b4", "b5", "b6", "b7")] == [
        19_341_616,
        30_389_784,
        43_040_704,
        66_347_960,
    ]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (MobileNet, {"blocks": (1, 1)}),
        (MobileNetV2, {"blocks": (1, 1), "norm": "groupnorm", "depthwise": False, "residual": False}),
        (MobileNetV3, {}),
        (EfficientNet, {"blocks": (1, 1)}),
    ],
)
def test_it_learns(model, fields):
    """Of all but the first the blocks are the same, so one of them learns in the other form."""
    network = tiny(model, **fields)
    variables, labels = drawn(network, X), jnp.asarray([4, 0, 7])

    def loss(params):
        state = {"batch_stats": variables.get("batch_stats", {})}
        logits, _ = network.apply({"params": params, **state}, X, train=True, mutable=["batch_stats"])
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @jax.jit
    def step(params):
        value, gradient = jax.value_and_grad(loss)(params)
        return value, jax.tree.map(lambda leaf, slope: leaf - 0.05 * slope, params, gradient)

    params, losses = variables["params"], []
    for _ in range(4):
        value, params = step(params)
        losses.append(float(value))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("model", TINY)
def test_every_part_can_be_exchanged(model):
    """Numbers are computed of the two kinds of blocks there are."""
    variants = [
        {"norm": "none", "standardized": True},
        {"norm": "groupnorm", "squeeze_excitation": 2, "activation": "gelu"},
        {"dtype": "bfloat16", "squeeze_excitation": None, "residual": False, "depthwise": False},
    ]
    for fields in variants:
        network = tiny(model, **fields)
        variables = drawn(network, X)
        computed = model in (MobileNet, MobileNetV2)
        logits = (jax.jit(network.apply) if computed else partial(jax.eval_shape, network.apply))(variables, X)
        assert logits.shape == (3, 10) and logits.dtype == jnp.float32
        assert not computed or np.all(np.isfinite(logits))
        norms = ["norm" in "/".join(map(str, path)) for path, _ in jax.tree.leaves_with_path(variables["params"])]
        assert any(norms) == (fields.get("norm") != "none")


@pytest.mark.parametrize("model", [MobileNet, MobileNetV2, MobileNetV3, EfficientNet])
def test_small_images_keep_some_pixels_to_the_end(model):
    network = model(stem="small", width_percent=25)
    _, found = jax.eval_shape(
        lambda: network.init_with_output(jax.random.key(0), jnp.zeros((1, 28, 28, 1)), mutable=True)
    )
    shapes = {name: value[0].shape[1] for name, value in found["intermediates"].items() if "output" in name}
    assert shapes["stem_output"] == 28
    assert min(shapes.values()) == 2


def test_a_branch_of_zeros_is_the_identity_where_it_is_residual_and_the_shape_stays():
    x = X[..., :1] * jnp.ones(8)[None, None, None]

    def run(**fields):
        block = InvertedResidual(channels=8, expanded=24, **fields)
        variables = initial(block, x)
        variables["params"]["project"]["convolution"]["kernel"] *= 0
        return block.apply(variables, x)

    np.testing.assert_array_equal(run(), x)
    assert not np.any(run(residual=False))
    assert not np.any(run(stride=2))


def test_there_is_no_activation_after_a_bottleneck():
    block = InvertedResidual(channels=5, expanded=16, residual=False, activation="relu")
    assert np.min(block.apply(initial(block, X), X)) < 0


def test_only_depthwise_blocks_keep_channels_apart_in_space():
    block = InvertedResidual(channels=2, expanded=2, activation="relu6", norm="none", residual=False)
    variables = initial(block, X)
    variables["params"]["project"]["convolution"]["kernel"] = jnp.eye(2)[None, None]
    changed = block.apply(variables, X.at[..., 0].add(2.0)) != block.apply(variables, X)
    assert changed.any(axis=(0, 1, 2)).tolist() == [True, False]
    kernels = {
        depthwise: initial(InvertedResidual(channels=2, expanded=6, depthwise=depthwise), X)["params"]["spatial"][
            "convolution"
        ]["kernel"]
        for depthwise in (True, False)
    }
    assert kernels[True].shape == (3, 3, 1, 6)
    assert kernels[False].shape == (3, 3, 6, 6)


def test_squeeze_and_excitation_can_be_had_by_any_block_and_by_none():
    for model in TINY:
        with_it, without = (
            jax.eval_shape(tiny(model, squeeze_excitation=factor).init, jax.random.key(0), X) for factor in (2, None)
        )
        paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(with_it["params"])]
        assert any("squeeze_excitation" in path for path in paths)
        assert "squeeze_excitation" not in str(jax.tree.structure(without))


def test_the_reduced_width_follows_each_paper():
    x = jnp.zeros((1, 32, 32, 3))
    large = jax.eval_shape(mobilenet_v3("large").init, jax.random.key(0), x)["params"]
    assert large["block_3"]["squeeze_excitation"]["squeeze"]["bias"].shape == (24,)  # 72 / 4 = 18, by eights
    b0 = jax.eval_shape(efficientnet("b0").init, jax.random.key(0), x)["params"]
    assert b0["stage_2"]["block_0"]["squeeze_excitation"]["squeeze"]["bias"].shape == (6,)  # 24 / 4


def test_padding_like_tensorflow_differs_only_where_an_even_side_is_halved():
    one_block = {"kernels": (3,), "expansions": (1,), "channels": (8,), "blocks": (1,), "strides": (2,)}
    models = [tiny(EfficientNet, padding=padding, **one_block) for padding in ("same", "centred")]
    for x, equal in ((X, True), (X[:, :10, :12], False)):
        variables = drawn(models[0], x)
        one, other = (jax.jit(model.apply)(variables, x) for model in models)
        assert np.allclose(one, other) == equal


def test_early_blocks_of_v3_have_their_own_activation():
    x = X[:1]
    models = [tiny(MobileNetV3, activation=late, early_activation="relu") for late in ("relu", "hardswish")]
    everywhere = tiny(MobileNetV3, activation="relu", early=2)
    variables = drawn(models[0], x)
    first, other, same = (
        jax.jit(partial(model.apply, mutable=["intermediates"]))(variables, x) for model in (*models, everywhere)
    )
    assert not np.allclose(first[1]["intermediates"]["pooled"][0], other[1]["intermediates"]["pooled"][0])
    np.testing.assert_array_equal(same[0], first[0])


def test_ends_of_a_lite_network_do_not_scale():
    x = jnp.zeros((1, 32, 32, 3))
    lite = jax.eval_shape(efficientnet_lite(4).init, jax.random.key(0), x)["params"]
    assert lite["stem"]["convolution"]["kernel"].shape[-1] == 32
    assert lite["last"]["convolution"]["kernel"].shape[-1] == 1280
    assert [len(lite[f"stage_{stage}"]) for stage in range(7)] == [1, 4, 4, 6, 6, 8, 1]


@pytest.mark.slow
def test_stochastic_depth_leaves_out_branches_in_training_only():
    network = tiny(EfficientNet, kernels=(3,), expansions=(1,), channels=(8,), blocks=(2,), strides=(1,))
    variables = drawn(network, X)

    def run(rate, train):
        model = network.clone(stochastic_depth=rate)
        return model.apply(variables, X, train=train, mutable=["batch_stats"], rngs={"dropout": jax.random.key(1)})[0]

    assert not np.allclose(*(jax.jit(partial(run, rate, True))() for rate in (0.9, 0.0)))
    evaluated = [jax.jit(partial(run, rate, False)).lower().as_text() for rate in (0.9, 0.0)]
    assert evaluated[0] == evaluated[1]


def test_networks_that_no_library_has_have_no_names():
    for model in (mobilenet(depthwise=False), mobilenet(squeeze_excitation=4), mobilenet_v2(squeeze_excitation=4)):
        with pytest.raises(UsageError, match="has no MobileNet"):
            names(model)


def test_layers_that_are_dense_here_and_convolutions_there_have_the_shapes_of_either():
    model = mobilenet_v3("small", width_percent=25, classes=3)
    like = dict(jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3))))
    generator = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: generator.normal(size=leaf.shape).astype(leaf.dtype), like)
    tensors = to_tensors(variables, names(model))
    assert tensors["features.1.block.1.fc1.weight"].shape == (8, 8, 1, 1)
    assert tensors["classifier.0.weight"].shape == (256, 144)
    jax.tree.map(np.testing.assert_array_equal, from_tensors(tensors, like, names(model)), variables)
    square = tensors | {"features.1.block.1.fc1.weight": np.zeros((8, 8, 3, 3))}
    with pytest.raises(UsageError, match=r"fc1.weight\", \(8, 8, 3, 3\) where .* needs \(8, 8, 1, 1\)"):
        from_tensors(square, like, names(model))


@pytest.mark.parametrize("model", [efficientnet("b1"), efficientnet_lite(1)])
def test_the_port_of_efficientnet_numbers_blocks_through(model):
    like = dict(jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3))))
    tensors = to_tensors(jax.tree.map(lambda leaf: np.zeros(leaf.shape), like), ported_names(model))
    blocks = sum(model.depths())
    assert tensors[f"_blocks.{blocks - 1}._project_conv.weight"].shape[0] == 320
    assert not any(name.startswith(f"_blocks.{blocks}.") for name in tensors)
    assert ("_blocks.0._se_reduce.weight" in tensors) == (model.squeeze_excitation is not None)
    expanding = [f"_blocks.{index}._expand_conv.weight" in tensors for index in range(blocks)]
    assert expanding == [index >= model.depths()[0] for index in range(blocks)]
