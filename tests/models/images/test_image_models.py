"""What every model of images answers, as a training step sees it."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research import models
from research.data import Images
from research.experiment import replace, spec, split
from research.kernels.choice import forward_mode
from research.models.images.fields import ImageClassifierFields
from research.optimization import Optimizer
from research.training.update.shapes import abstract_state
from research.training.update.step import train_step
from tests.models.images.small_images import drawn
from tests.training.one_step import assert_a_step_keeps_the_promises_of_a_run

INVERTED = {"channels": (8, 8), "strides": (1, 2), "stem": "small", "stochastic_depth": 0.1}
SMALL = {
    "AlexNet": {"channels": (4, 6, 8, 6, 4), "grid": 2, "dense": (11,), "stem": "small"},
    "CNN": {"channels": (4, 6)},
    "ConvNeXt": {"channels": (4, 8), "blocks": (1, 1), "stem": "small", "stochastic_depth": 0.1},
    "DenseNet": {"blocks": (2, 2), "growth": 4, "width": 8, "stem": "small"},
    "EfficientNet": {**INVERTED, "kernels": (3, 5), "expansions": (1, 2), "blocks": (1, 1), "features": 12},
    "InceptionV1": {"blocks": (1, 1, 1), "width_percent": 10, "stem": "small"},
    "InceptionV3": {"blocks": (1, 1, 1), "width_percent": 10, "stem": "small"},
    "Mixer": {"width": 8, "layers": 2, "patch": 7, "stochastic_depth": 0.1},
    "MobileNet": {"channels": (8, 8), "blocks": (1, 1), "strides": (1, 2), "stem": "small"},
    "MobileNetV2": {**INVERTED, "expansions": (1, 2), "blocks": (1, 1), "features": 12},
    "MobileNetV3": {**INVERTED, "kernels": (3, 5), "expanded": (8, 16), "squeezed": (True, False), "hidden": 12},
    "ResNet": {"blocks": (1, 1), "width": 4, "stem": "small", "stochastic_depth": 0.1, "squeeze_excitation": 2},
    "VGG": {"blocks": (1, 1), "width": 4, "grid": 2, "dense": (11,)},
    "ViT": {"width": 8, "heads": 2, "layers": 2, "patch": 7, "stochastic_depth": 0.1},
    "Xception": {"stem_channels": (4, 6), "entry": (8, 8), "middle": 1, "exit": (8, 8, 8), "stem": "small"},
}


def of_images(item: object) -> bool:
    """Whether something public is a model of images."""
    own = (models.CNN, models.Mixer, models.ViT, ImageClassifierFields)
    return isinstance(item, type) and issubclass(item, nn.Module) and issubclass(item, own)


def test_every_model_of_images_is_here():
    assert {name for name, item in vars(models).items() if of_images(item)} == SMALL.keys()


@pytest.mark.parametrize("name", sorted(SMALL.keys() - {"Mixer", "ViT"}))  # these two convolve as Flax does
def test_forward_mode_is_there_where_it_is_asked_for(name):
    x = jax.ShapeDtypeStruct((2, 28, 28, 1), jnp.float32)

    def lowered():
        """Lower the derivative by all parameters in one direction."""
        model = getattr(models, name)(**SMALL[name])
        variables = dict(jax.eval_shape(lambda x: model.init(jax.random.key(0), x), x))
        params = variables.pop("params")

        def along(params, variables, x):
            return jax.jvp(lambda params: model.apply({"params": params, **variables}, x), (params,), (params,))

        return jax.jit(along).lower(params, variables, x)

    with forward_mode(True):
        y, tangent = lowered().out_info
    assert y.shape == tangent.shape
    with pytest.raises(TypeError, match="forward-mode"):
        lowered()


@pytest.mark.parametrize("name", ["CNN", "ResNet"])
def test_forward_mode_is_the_derivative_of_reverse_mode(name):
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
    model = getattr(models, name)(**SMALL[name])
    variables = drawn(model, x)
    params = variables.pop("params")
    direction = jax.tree.map(jnp.cos, params)

    @jax.jit
    def loss(params):
        return jnp.sin(model.apply({"params": params, **variables}, x)).sum()

    gradient = jax.jit(jax.grad(loss))(params)
    expected = sum(jax.tree.leaves(jax.tree.map(lambda g, d: (g * d).sum(), gradient, direction)))
    with forward_mode(True):
        tangent = jax.jit(lambda params: jax.jvp(loss, (params,), (direction,))[1])(params)
    assert abs(expected) > 0.1
    np.testing.assert_allclose(tangent, expected, rtol=1e-4)


RUN = ("AlexNet", "ConvNeXt", "EfficientNet", "Mixer")
"""Models whose step is run: between them they have every kind of layer, and what else of a step is asked is the same.

Whole runs of `CNN` and `ResNet` are in `test_every_family.py`; the largest of the others learn in tests of their own.
"""


@pytest.fixture(scope="module")
def in_bfloat16(experiment):
    """A run of each model on images as they are: what else becomes of them is the same for every model."""
    on_mnist = replace(experiment, {"data": Images("mnist5k"), "batch_size": 8, "optimizer.warmup": 0})

    def with_model(name):
        model = getattr(models, name)(**{**SMALL[name], "dropout": 0.2, "dtype": "bfloat16"})
        return replace(on_mnist, {"model": model})

    return with_model


@pytest.mark.slow
@pytest.mark.fault("F1", "F21")
@pytest.mark.parametrize("name", RUN)
def test_a_training_step_in_bfloat16_runs_and_lowers_for_every_platform(name, in_bfloat16):
    generator, experiment = np.random.default_rng(0), in_bfloat16(name)
    raw = {"image": generator.integers(0, 256, (8, 28, 28, 1), np.uint8), "label": np.arange(8, dtype=np.int32)}
    assert {key: (value.shape, value.dtype) for key, value in raw.items()} == {
        key: (item.shape, item.dtype) for key, item in spec(experiment).items()
    }
    assert "bf16" in assert_a_step_keeps_the_promises_of_a_run(experiment, raw)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SMALL.keys() - set(RUN)))
def test_a_training_step_in_bfloat16_keeps_the_kinds_of_its_state_and_lowers_for_every_platform(name, in_bfloat16):
    """What of a step is a model's own: the shapes and types that it hands on, and what it is made of."""
    experiment = replace(in_bfloat16(name), {"optimizer": Optimizer("sgd")})  # the shortest, for it is the same for all
    (program, hyperparameters), state = split(experiment), abstract_state(experiment)
    step = jax.jit(functools.partial(train_step, program)).trace(hyperparameters, state, spec(experiment))
    after, metrics = step.out_info
    chex.assert_trees_all_equal_shapes_and_dtypes(after, state)
    assert metrics["objective"].dtype == jnp.float32
    assert "bf16" in step.lower(lowering_platforms=("cpu", "cuda", "tpu")).as_text()
