import jax
import numpy as np
import pytest

from research.errors import UsageError
from research.interchange import names
from research.models.images.plain.alexnet import AlexNet, alexnet
from tests.golden.comparison import assert_golden, parameters
from tests.models.images.small_images import (
    X,
    assert_learns,
    assert_needs,
    assert_runs_with_every_norm,
    drawn,
    intermediates,
    shapes,
)


def tiny(**fields):
    return AlexNet(
        **{"classes": 5, "channels": (4, 6, 8, 10, 12), "stem": "small", "grid": 2, "dense": (17,), **fields}
    )


def test_logits_equal_those_of_torchvision():
    assert_golden(alexnet(dense=(47, 43)), "alexnet", "alexnet", 259, 67)


def test_published_sizes_have_the_published_number_of_parameters():
    assert parameters(alexnet()) == parameters(alexnet(), 227, 64) == 61_100_840
    assert parameters(alexnet(2012)) == 60_965_224


def test_it_needs_63_pixels_and_15_with_a_small_stem():
    assert_needs(alexnet(), 63)
    assert_needs(tiny(), 15)


def test_small_images_keep_their_size_in_a_small_stem():
    assert shapes(tiny()) == {
        "stem_output": (7, 13, 13, 4),
        "stage_0_output": (7, 6, 6, 6),
        "stage_1_output": (7, 2, 2, 12),
        "pooled": (7, 2, 2, 12),
        "dense_0_output": (7, 17),
    }
    assert_runs_with_every_norm(tiny())


def test_towers_do_not_see_each_other():
    for towers, sees in ((1, True), (2, False)):
        model = tiny(towers=towers)
        variables = drawn(model)
        stem = variables["params"]["stem"]["convolution"]
        other = {**stem, "kernel": stem["kernel"].at[..., 2:].multiply(2)}
        changed = {"params": {**variables["params"], "stem": {"convolution": other}}}
        one, two = (intermediates(model, v)["stage_0_output"] for v in (variables, changed))
        assert np.array_equal(one[..., :3], two[..., :3]) != sees
        assert not np.array_equal(one[..., 3:], two[..., 3:])


def test_response_normalization_has_no_parameters_and_divides_the_first_two_outputs():
    plain, normalized = tiny(channels=(1, 6, 8, 10, 12)), tiny(channels=(1, 6, 8, 10, 12), response_normalization=True)
    variables = drawn(plain)
    assert jax.tree.structure(variables) == jax.tree.structure(drawn(normalized))
    one, two = (intermediates(model, variables)["stem_output"] for model in (plain, normalized))
    np.testing.assert_allclose(two, one / (2 + 1e-4 * one**2) ** 0.75, rtol=1e-5)  # x / (2 + x²) ** 0.75 grows with x
    with pytest.raises(UsageError, match="no AlexNet with model.response_normalization"):
        names(normalized)


def test_dropout_is_after_each_hidden_dense_layer():
    model = tiny(dropout=0.999999)
    variables = drawn(model)
    apply = jax.jit(lambda v: model.apply(v, X[:2], train=True, rngs={"dropout": jax.random.key(0)}))
    bias = variables["params"]["logits"]["bias"]
    np.testing.assert_array_equal(apply(variables), np.stack([bias, bias]))  # nothing else is left


def test_it_learns_small_images():
    assert_learns(tiny(channels=(8, 8, 16, 16, 16), dense=(32,), dropout=0.1))
