import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.errors import UsageError
from research.interchange import names
from research.models.images.inception.fields import inception_fields
from research.models.images.inception.inception_v1 import (
    InceptionV1,
    InceptionV1Auxiliary,
    googlenet,
    googlenet_batchnorm,
)
from research.models.images.inception.inception_v3 import InceptionV3, InceptionV3Auxiliary, inception_v3
from tests.golden.comparison import assert_golden, golden, parameters
from tests.golden.comparison import drawn as drawn_by_name
from tests.golden.drawing import images
from tests.models.images.small_images import (
    X,
    assert_learns,
    assert_needs,
    assert_runs_with_every_norm,
    drawn,
    intermediates,
    shapes,
)


def tiny(cls=InceptionV1, **fields):
    blocks = (1, 4, 1) if cls is InceptionV1 else (2, 1, 1)
    return cls(**{"classes": 5, "blocks": blocks, "width_percent": 10, "stem": "small", **fields})


@pytest.mark.parametrize(
    ("name", "model", "h", "w"),
    [("googlenet", googlenet_batchnorm(), 67, 61), ("inception_v3", inception_v3(), 91, 83)],
)
def test_logits_equal_those_of_torchvision(name, model, h, w):
    assert_golden(model, "inception", name, h, w)


@pytest.mark.parametrize(
    ("name", "model", "head", "h", "w", "c"),
    [
        ("googlenet_auxiliary_0", googlenet_batchnorm(auxiliary=True), InceptionV1Auxiliary, 14, 9, 512),
        ("googlenet_auxiliary_1", googlenet_batchnorm(auxiliary=True), InceptionV1Auxiliary, 3, 13, 528),
        ("inception_v3_auxiliary", inception_v3(auxiliary=True), InceptionV3Auxiliary, 21, 18, 768),
    ],
)
def test_auxiliary_logits_equal_those_of_torchvision(name, model, head, h, w, c):
    expected, module = golden("inception")[name], name.partition("_auxiliary")[0]
    variables = drawn_by_name(model, np.broadcast_to(np.float32(0), (1, 299, 299, 3)))
    inside = {kind: tree[name.removeprefix(f"{module}_")] for kind, tree in variables.items()}
    logits = head(**inception_fields(model), classes=1000).apply(inside, jnp.asarray(images(name, 2, h, w, c)))
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_published_sizes_have_the_published_number_of_parameters():
    assert parameters(googlenet()) == 6_998_552
    assert parameters(googlenet_batchnorm()) == 6_624_904
    assert parameters(googlenet_batchnorm(auxiliary=True)) == 13_004_888
    assert parameters(inception_v3(), 75, 83) == 23_834_568
    assert parameters(inception_v3(auxiliary=True), 299, 301) == 27_161_264


def test_v3_needs_75_pixels():
    assert_needs(inception_v3(blocks=(1, 1, 1)), 75)
    assert_needs(tiny(InceptionV3), 7)


@pytest.mark.slow
def test_small_images_keep_their_size_in_a_small_stem():
    assert shapes(tiny()) == {
        "stem_output": (7, 28, 28, 19),
        "stage_0_output": (7, 28, 28, 6 + 13 + 3 + 3),
        "stage_1_output": (7, 14, 14, 11 + 29 + 6 + 6),
        "stage_2_output": (7, 7, 7, 26 + 32 + 13 + 13),
        "pooled": (7, 84),
    }
    assert shapes(tiny(InceptionV3)) == {
        "stem_output": (7, 28, 28, 19),
        "stage_0_output": (7, 28, 28, 6 + 6 + 10 + 6),
        "stage_1_output": (7, 13, 13, 4 * 19),
        "stage_2_output": (7, 6, 6, 32 + 4 * 38 + 19),
        "pooled": (7, 203),
    }
    for cls in (InceptionV1, InceptionV3):
        assert_runs_with_every_norm(tiny(cls, blocks=(1, 1, 1)), X[:2])


def test_auxiliary_heads_are_computed_in_training_alone_and_change_no_logits():
    alone = tiny(blocks=(1, 1, 1))
    model = alone.clone(auxiliary=True, auxiliary_dropout=0.0)
    variables = drawn(model, X[:2])
    found = intermediates(model, variables, X[:2], train=True)
    assert found["auxiliary_0_logits"].shape == (2, 5)
    assert "auxiliary_0_logits" not in shapes(model, X[:2])
    own = {
        kind: {name: leaf for name, leaf in tree.items() if name != "auxiliary_0"} for kind, tree in variables.items()
    }
    assert jax.tree.structure(own) == jax.tree.structure(drawn(alone, X[:2]))
    pooled = intermediates(alone, own, X[:2], train=True)["pooled"]
    np.testing.assert_allclose(pooled, found["pooled"], rtol=1e-5, atol=1e-6)  # two programs


def test_there_are_as_many_auxiliary_heads_as_blocks_that_have_one():
    for blocks, heads in (((1, 5, 1), 2), ((2, 3, 2), 1)):
        params = jax.eval_shape(tiny(blocks=blocks, auxiliary=True).init, jax.random.key(0), X)["params"]
        assert sum("auxiliary" in name for name in params) == heads


def test_the_auxiliary_head_of_v3_needs_large_images_unless_they_are_only_evaluated():
    model, x = inception_v3(auxiliary=True), jnp.zeros((2, 91, 83, 3))
    with pytest.raises(UsageError, match="91 x 83 is too small: the model needs 299 x 299; set model.auxiliary"):
        jax.eval_shape(model.init, jax.random.key(0), x)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 299, 299, 3)))
    assert jax.eval_shape(model.apply, variables, x).shape == (2, 1000)


def test_what_torchvision_has_otherwise_is_a_field_of_its_own():
    one, other = (
        {"/".join(key.key for key in path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(params)}
        for params in (
            jax.eval_shape(tiny(**fields).init, jax.random.key(0), X)["params"]
            for fields in ({}, {"large_kernel": 3, "last_pool": 2, "response_normalization": True})
        )
    )
    changed = {name for name in one if one[name] != other[name]}
    assert one.keys() == other.keys()
    assert changed == {name for name in one if name.endswith("five_1/convolution/kernel")}
    with pytest.raises(UsageError, match="no GoogLeNet with model.response_normalization"):
        names(googlenet())


@pytest.mark.parametrize("field", [{"last_pool": 2}, {"response_normalization": True}])
def test_a_smaller_maximum_and_response_normalization_change_the_numbers_alone(field):
    model = tiny(blocks=(1, 1, 1))
    variables = drawn(model, X[:2])
    one, other = (intermediates(m, variables, X[:2]) for m in (model, model.clone(**field)))
    assert not np.allclose(one["pooled"], other["pooled"])
    assert np.array_equal(one["stage_1_output"], other["stage_1_output"]) == ("last_pool" in field)


@pytest.mark.slow
def test_v3_learns_small_images():
    """That InceptionV1 does, test_auxiliary.py asserts."""
    assert_learns(tiny(InceptionV3, blocks=(1, 1, 1), width_percent=5), steps=12, learning_rate=1e-2)
