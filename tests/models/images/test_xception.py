import jax.numpy as jnp
import numpy as np
import pytest

from research.errors import UsageError
from research.interchange import names
from research.models.images.residual.xception import SeparableUnit, Xception, xception
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
    small = {"stem": "small", "stem_channels": (3, 4), "entry": (5, 7), "middle": 2, "exit": (9, 10, 11)}
    return Xception(**{"classes": 5, **small, **fields})


def test_logits_equal_those_of_timm():
    assert_golden(xception(padding="centred"), "xception", "xception", 67, 61)


def test_the_published_size_has_the_published_number_of_parameters():
    assert parameters(xception()) == 22_855_952


def test_it_needs_the_pixels_of_its_stem():
    assert_needs(xception(middle=1), 7)


def test_entry_and_exit_flow_halve_the_image():
    for padding in ("same", "centred"):
        assert shapes(tiny(padding=padding, middle=1)) == {
            "stem_output": (7, 28, 28, 4),
            "stage_0_output": (7, 7, 7, 7),
            "stage_1_output": (7, 7, 7, 7),
            "stage_2_output": (7, 4, 4, 11),
            "pooled": (7, 11),
        }
    assert_runs_with_every_norm(tiny(middle=1), X[:2])


def test_a_separable_convolution_is_the_full_one_of_the_product_of_its_kernels():
    x = jnp.asarray(np.random.default_rng(1).normal(size=(2, 7, 5, 3)), jnp.float32)
    separable, full = (SeparableUnit(depthwise=depthwise, channels=11, norm="none") for depthwise in (True, False))
    params = drawn(separable, x)["params"]
    depthwise, pointwise = params["depthwise"]["kernel"], params["pointwise"]["kernel"]  # [3, 3, 1, 3], [1, 1, 3, 11]
    kernel = jnp.einsum("hwc,cd->hwcd", depthwise[:, :, 0], pointwise[0, 0])
    expected = full.apply({"params": {"convolution": {"kernel": kernel, "bias": params["pointwise"]["bias"]}}}, x)
    np.testing.assert_allclose(separable.apply({"params": params}, x), expected, rtol=1e-4, atol=1e-5)


def test_full_convolutions_have_nine_times_the_weights_of_pointwise_ones():
    separable, full = (parameters(tiny(depthwise=depthwise), 28, 28, 1) for depthwise in (True, False))
    inputs, outputs = (4, 5, 5, 7, *[7] * 6, 7, 7, 9, 10), (5, 5, 7, 7, *[7] * 6, 7, 9, 10, 11)
    assert full - separable == sum(8 * i * o - 9 * i for i, o in zip(inputs, outputs, strict=True))


@pytest.mark.parametrize("residual", [True, False])
def test_a_block_whose_branch_is_zero_is_the_identity_where_it_is_residual(residual):
    model = tiny(residual=residual)
    variables = drawn(model, X[:2])
    for index in range(model.middle):
        norm = variables["params"][f"middle_{index}"]["unit_2"]["norm"]
        norm |= {"scale": 0 * norm["scale"], "bias": 0 * norm["bias"]}
    found = intermediates(model, variables, X[:2])
    expected = found["stage_0_output"] if residual else np.zeros((2, 7, 7, 7))
    np.testing.assert_array_equal(found["stage_1_output"], expected)
    assert np.any(found["stage_0_output"])


def test_inner_activations_and_where_maxima_begin_change_the_numbers_alone():
    model = tiny(entry=(5,), middle=1)
    variables = drawn(model, X[:2])
    plain, *others = (
        intermediates(model.clone(**fields), variables, X[:2])
        for fields in ({}, {"intermediate_activation": "relu"}, {"padding": "centred"})
    )
    for other in others:
        np.testing.assert_array_equal(plain["stem_output"], other["stem_output"])
        assert not np.allclose(plain["pooled"], other["pooled"])


@pytest.mark.parametrize("fields", [{"intermediate_activation": "relu"}, {"depthwise": False}])
def test_what_timm_does_not_have_has_no_names(fields):
    with pytest.raises(UsageError, match="timm has no Xception with depthwise=False or intermediate_activation"):
        names(tiny(**fields))


@pytest.mark.slow
def test_it_learns_small_images():
    assert_learns(tiny(entry=(16,), middle=1), steps=12, learning_rate=1e-2)
