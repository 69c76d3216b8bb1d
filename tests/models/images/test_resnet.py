from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.models.images.residual.resnet import ResNet, resnet, se_resnet
from tests.golden.comparison import assert_golden, drawn, golden, parameters
from tests.golden.drawing import images
from tests.models.images.small_images import drawn as random
from tests.models.images.small_images import intermediates, shapes

X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 13, 11, 3)), jnp.float32)


@pytest.mark.parametrize(
    ("name", "model"), [("resnet18", resnet(18)), ("resnet50", resnet(50)), ("seresnet50", se_resnet(50))]
)
def test_logits_equal_those_of_torchvision_and_timm(name, model):
    assert_golden(model, "resnet", name, 67, 61)


@pytest.mark.parametrize("size", [18, 50])
def test_a_training_step_equals_that_of_torchvision_running_averages_too(size):
    model, arrays = resnet(size), golden("resnet")
    x = jnp.asarray(images(f"training resnet{size}", 3, 67, 61))
    logits, updated = jax.jit(lambda v: model.apply(v, x, train=True, mutable=["batch_stats"]))(drawn(model, x))
    expected = arrays[f"train_resnet{size}"]
    np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    last = updated["batch_stats"]["stage_3"]["block_1" if size == 18 else "block_2"][
        "unit_1" if size == 18 else "unit_2"
    ]
    averages = np.stack([last["norm"]["mean"], last["norm"]["var"]])
    np.testing.assert_allclose(averages, arrays[f"train_resnet{size}_averages"], rtol=1e-4, atol=1e-4)


def test_published_sizes_have_the_published_number_of_parameters():
    published = {18: 11_689_512, 34: 21_797_672, 50: 25_557_032, 101: 44_549_160, 152: 60_192_808}
    assert {size: parameters(resnet(size)) for size in published} == published
    assert parameters(se_resnet(50)) == 28_088_024
    assert parameters(resnet(50, stride_at="first")) == published[50]


def initial(model):
    return jax.jit(model.init)(jax.random.key(0), X)


def tiny(**fields):
    return ResNet(**{"blocks": (1, 2), "width": 4, "stem": "small", **fields})


def test_a_block_whose_branch_is_zero_is_the_identity_where_it_is_residual():
    model = tiny(blocks=(2,), zero_init=True)
    variables = initial(model)
    found = intermediates(model, variables, X)
    np.testing.assert_array_equal(found["stem_output"], found["stage_0_output"])
    assert not np.any(intermediates(model.clone(residual=False), variables, X)["stage_0_output"])


def test_a_preactivated_stack_adds_to_what_enters_without_an_activation_after_it():
    model = tiny(blocks=(2,), preactivation=True, zero_init=True)
    found = intermediates(model, initial(model), X)
    np.testing.assert_array_equal(found["stem_output"], found["stage_0_output"])
    assert np.min(found["stem_output"]) < 0  # no activation has cut it


def test_stages_halve_the_image_and_double_the_channels():
    model = tiny(blocks=(1, 1, 1), block="bottleneck", stem="imagenet")
    assert shapes(model, jnp.zeros((2, 41, 67, 3))) == {
        "stem_output": (2, 11, 17, 4),
        "stage_0_output": (2, 11, 17, 16),
        "stage_1_output": (2, 6, 9, 32),
        "stage_2_output": (2, 3, 5, 64),
        "pooled": (2, 64),
    }


def test_where_a_bottleneck_shrinks_changes_the_numbers_and_nothing_else():
    one, other = (tiny(block="bottleneck", blocks=(1, 1), stride_at=at) for at in ("first", "spatial"))
    variables = random(one, X)
    assert jax.tree.structure(variables) == jax.tree.structure(random(other, X))
    assert not np.allclose(*(jax.jit(model.apply)(variables, X) for model in (one, other)))


def test_dropping_every_branch_leaves_the_shortcuts():
    """The rate grows from zero at the first block, so of a stage of two the second is left out."""
    model = tiny(blocks=(2,), stochastic_depth=0.999999)
    variables = random(model, X)

    def run(rate, train):
        rngs = {"dropout": jax.random.key(1)}
        return model.clone(stochastic_depth=rate).apply(variables, X, train=train, rngs=rngs, mutable=["batch_stats"])

    dropped, kept = (jax.jit(partial(run, rate, True))()[0] for rate in (0.999999, 0.0))
    assert np.all(np.isfinite(dropped)) and not np.allclose(dropped, kept)
    evaluated = [jax.jit(partial(run, rate, False)).lower().as_text() for rate in (0.999999, 0.0)]
    assert evaluated[0] == evaluated[1]  # evaluation drops nothing
