import jax
import numpy as np
import pytest

from research.models.images.residual.densenet import DenseNet, densenet
from tests.golden.comparison import assert_golden, parameters
from tests.models.images.small_images import (
    assert_learns,
    assert_needs,
    assert_runs_with_every_norm,
    drawn,
    intermediates,
    shapes,
)


def tiny(**fields):
    return DenseNet(**{"classes": 5, "blocks": (2, 3), "growth": 3, "width": 5, "stem": "small", **fields})


def test_logits_equal_those_of_torchvision():
    assert_golden(densenet(121), "densenet", "densenet121", 67, 61)


@pytest.mark.slow
def test_published_sizes_have_the_published_number_of_parameters():
    published = {121: 7_978_856, 161: 28_681_000, 169: 14_149_480, 201: 20_013_928}
    assert {size: parameters(densenet(size)) for size in published} == published


def test_it_needs_29_pixels_and_two_for_every_transition_with_a_small_stem():
    assert_needs(densenet(121, blocks=(1, 1, 1, 1)), 29)
    assert_needs(tiny(blocks=(1, 1, 1)), 4)


@pytest.mark.parametrize(
    ("fields", "widths"),
    [
        ({}, (11, 14)),  # 5 + 2 * 3; half of it and 3 * 3
        ({"compression": 1}, (11, 20)),
        ({"bottleneck": None}, (11, 14)),
        ({"concatenation": False}, (3, 3)),
    ],
)
def test_a_layer_adds_its_channels_to_what_it_sees(fields, widths):
    found = shapes(tiny(**fields))
    assert found["stem_output"] == (7, 28, 28, 5)
    assert found["stage_0_output"] == (7, 28, 28, widths[0])
    assert found["stage_1_output"] == (7, 14, 14, widths[1])
    assert found["pooled"] == (7, widths[1])


def test_a_stage_passes_on_what_entered_it_and_what_its_first_layers_gave():
    model = tiny()
    variables = drawn(model)
    found = intermediates(model, variables)
    np.testing.assert_array_equal(found["stage_0_output"][..., :5], found["stem_output"])
    kernel = variables["params"]["stage_0"]["layer_1"]["unit_1"]["convolution"]["kernel"]
    variables["params"]["stage_0"]["layer_1"]["unit_1"]["convolution"]["kernel"] = 2 * kernel
    other = intermediates(model, variables)["stage_0_output"]
    np.testing.assert_array_equal(other[..., :8], found["stage_0_output"][..., :8])
    np.testing.assert_allclose(other[..., 8:], 2 * found["stage_0_output"][..., 8:], rtol=1e-5)


def test_dropping_what_layers_give_leaves_what_entered_the_stage():
    model = tiny(layer_dropout=0.999999)
    variables = drawn(model)
    found = intermediates(model, variables, train=True, rngs={"dropout": jax.random.key(0)})
    np.testing.assert_array_equal(found["stage_0_output"][..., :5], found["stem_output"])
    assert not np.any(found["stage_0_output"][..., 5:])
    assert np.any(intermediates(model, variables)["stage_0_output"][..., 5:])  # evaluation drops nothing


def test_it_runs_with_every_norm_and_learns_small_images():
    assert_runs_with_every_norm(tiny())
    assert_learns(tiny(blocks=(1, 1), growth=8, width=8), steps=12, learning_rate=3e-2)
