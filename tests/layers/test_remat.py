"""What is computed anew changes neither parameters nor gradients, but what is kept for the backward pass."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research import models
from research.devices.cpu.compiler import compiler_options
from research.layers import activations, normalization
from tests.models.images.small_images import drawn

X = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype(np.float32)
TOKENS = np.random.default_rng(1).integers(0, 31, (2, 17)).astype(np.int32)
INVERTED = {"channels": (8, 8), "strides": (1, 2), "stem": "small", "stochastic_depth": 0.1}
TRANSFORMER = {"layers": 2, "width": 12, "heads": 2, "dropout": 0.1, "attention_dropout": 0.1}

MODELS = {
    "ConvNeXt": (models.ConvNeXt(channels=(4, 8), blocks=(2, 1), stem="small", stochastic_depth=0.1), X),
    "DenseNet": (models.DenseNet(blocks=(2, 2), growth=4, width=8, stem="small", layer_dropout=0.1), X),
    "EfficientNet": (
        models.EfficientNet(kernels=(3, 5), expansions=(1, 2), blocks=(1, 2), features=12, **INVERTED),
        X,
    ),
    "InceptionV1": (models.InceptionV1(blocks=(1, 1, 1), width_percent=10, stem="small"), X),
    "InceptionV3": (models.InceptionV3(blocks=(1, 1, 1), width_percent=10, stem="small", auxiliary=False), X),
    "Mixer": (models.Mixer(width=8, layers=2, stochastic_depth=0.1), X),
    "MobileNet": (models.MobileNet(channels=(8, 8), blocks=(1, 1), strides=(1, 2), stem="small"), X),
    "MobileNetV3": (
        models.MobileNetV3(kernels=(3, 5), expanded=(8, 16), squeezed=(True, False), hidden=12, **INVERTED),
        X,
    ),
    "ResNet": (models.ResNet(blocks=(2, 1), width=4, stem="small", stochastic_depth=0.1, squeeze_excitation=2), X),
    "TransformerLanguageModel": (models.TransformerLanguageModel(vocabulary=31, **TRANSFORMER), TOKENS),
    "Xception": (models.Xception(stem_channels=(4, 6), entry=(8,), middle=1, exit=(8, 8, 8), stem="small"), X),
}


def objective(model, variables, x):
    def loss(params):
        logits, updated = model.apply(
            {**variables, "params": params}, x, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(1)}
        )
        return jnp.sin(logits).mean(), updated

    return loss


def kept(model, variables, x):
    """Bytes that the forward pass keeps for the backward pass."""
    back = jax.eval_shape(
        lambda variables: jax.vjp(objective(model, variables, x), variables["params"], has_aux=True)[1], variables
    )
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(back))


def abstract(model, x):
    variables = dict(jax.eval_shape(model.init, jax.random.key(0), x))
    variables.pop("intermediates", None)
    return variables


@pytest.mark.parametrize("name", MODELS)
def test_less_is_kept_under_the_same_names(name):
    model, x = MODELS[name]
    kinds = ("none", "dots", "full") if name in ("Mixer", "TransformerLanguageModel") else ("none", "full")
    variables, *others = (abstract(model.clone(remat=kind), x) for kind in kinds)
    assert others == [variables] * len(others)
    sizes = [kept(model.clone(remat=kind), variables, x) for kind in kinds]
    assert sizes == sorted(set(sizes), reverse=True), sizes


@pytest.mark.parametrize("name", ["ResNet", "TransformerLanguageModel"])
def test_gradients_and_statistics_are_the_same(name):
    model, x = MODELS[name]
    variables = drawn(model, x)

    def step(kind):
        loss = objective(model.clone(remat=kind), variables, x)
        return jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])

    expected = step("none")
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(expected[1]))
    assert largest > 0.01
    for kind in ("dots", "full") if name != "ResNet" else ("full",):
        for a, b in zip(jax.tree.leaves(expected), jax.tree.leaves(step(kind)), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-5, atol=1e-6 * largest)


def test_a_loop_over_blocks_takes_less_memory():
    """Compiled for a CPU, which computes nothing twice that is not in a loop."""
    model = models.TransformerLanguageModel(vocabulary=31, layers=3, width=24, heads=2, scan=True)
    variables = abstract(model, TOKENS)

    def temporary(kind):
        def gradient(variables, x):
            return jax.grad(objective(model.clone(remat=kind), variables, x), has_aux=True)(variables["params"])

        return jax.jit(gradient).lower(variables, TOKENS).compile().memory_analysis().temp_size_in_bytes

    none, dots, full = (temporary(kind) for kind in ("none", "dots", "full"))
    assert full < dots < none


def standardized(x):
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt(jnp.square(centred).mean(-1, keepdims=True) + 1e-5)


PLAIN = {
    "gelu": (activations.gelu, lambda x: jax.nn.gelu(x, approximate=False)),
    "gelu_tanh": (activations.gelu_tanh, jax.nn.gelu),
    "silu": (activations.silu, jax.nn.silu),
    "standardize": (lambda x: normalization.standardize(x, 1e-5), standardized),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_cpu_keeps_less_than_for_the_plain_function(name):
    """In residual blocks of a function, scaled, and a product."""
    x, blocks = jnp.zeros((512, 32)), [(jnp.ones((1, 32)), jnp.zeros((32, 32)))] * 8

    def kept(function):
        def loss(blocks):
            y = x
            for scale, matrix in blocks:
                y = y + (function(y) * scale) @ matrix
            return jnp.sin(y).sum()

        compiled = jax.jit(jax.grad(loss)).lower(blocks).compile(compiler_options=compiler_options())
        return compiled.memory_analysis().temp_size_in_bytes

    ours, plain = map(kept, PLAIN[name])
    assert ours < plain - 4 * x.nbytes
