import jax
import pytest

from research.models.images.plain.vgg import VGG, vgg
from tests.golden.comparison import assert_golden, parameters
from tests.models.images.small_images import X, assert_learns, assert_needs, assert_runs_with_every_norm, shapes


def tiny(**fields):
    return VGG(**{"classes": 5, "width": 3, "blocks": (1, 2, 1), "grid": 2, "dense": (17, 13), **fields})


@pytest.mark.parametrize(("name", "norm"), [("vgg11", "none"), ("vgg11_bn", "batchnorm")])
def test_logits_equal_those_of_torchvision(name, norm):
    assert_golden(vgg(11, dense=(47, 43), norm=norm), "vgg", name, 257, 35)


def test_published_sizes_have_the_published_number_of_parameters():
    published = {11: 132_863_336, 13: 133_047_848, 16: 138_357_544, 19: 143_667_240}
    assert {size: parameters(vgg(size)) for size in published} == published
    assert parameters(vgg(11, norm="batchnorm"), 32, 45) == 132_868_840


def test_it_needs_a_pixel_after_every_stage():
    assert_needs(vgg(11, dense=(3,)), 32)
    assert_needs(tiny(), 8)


def test_stages_halve_the_image_and_double_the_channels_up_to_eight_times():
    assert shapes(tiny(blocks=(1, 1, 1, 1, 1), width=3, grid=1), jax.numpy.zeros((2, 37, 67, 3))) == {
        "stage_0_output": (2, 18, 33, 3),
        "stage_1_output": (2, 9, 16, 6),
        "stage_2_output": (2, 4, 8, 12),
        "stage_3_output": (2, 2, 4, 24),
        "stage_4_output": (2, 1, 2, 24),
        "pooled": (2, 1, 1, 24),
        "dense_0_output": (2, 17),
        "dense_1_output": (2, 13),
    }
    assert_runs_with_every_norm(tiny())


def test_convolutions_keep_their_biases_where_they_are_normalized():
    for norm in ("none", "batchnorm"):
        params = jax.eval_shape(tiny(norm=norm).init, jax.random.key(0), X)["params"]
        assert params["stage_1_unit_1"]["convolution"]["bias"].shape == (6,)


def test_it_learns_small_images():
    assert_learns(tiny(width=8, norm="batchnorm", dropout=0.1))
