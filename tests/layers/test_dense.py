from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.layers.dense import Dense
from tests.training.forking import call, finish

X = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)

EIGHT_DEVICES = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_num_cpu_devices", 8)
from jax.sharding import NamedSharding, PartitionSpec as P
from research.layers import Attention, Recurrence

mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
whole, rows = NamedSharding(mesh, P()), NamedSharding(mesh, P("data"))
x = np.random.default_rng(0).normal(size=(16, 7, 12)).astype(np.float32)
lengths = np.arange(16, dtype=np.int32) % 8
for name, model, inputs in (("attention", Attention(heads=3), (x,)), ("recurrence", Recurrence(11), (x, lengths))):
    variables = jax.jit(model.init)(jax.random.key(0), *inputs)
    gradient = jax.grad(lambda variables, *inputs: (model.apply(variables, *inputs)[0] ** 2).mean())
    expected = jax.jit(gradient)(variables, *inputs)
    divided = jax.jit(gradient, in_shardings=(whole, *[rows] * len(inputs)), out_shardings=whole)
    compiled = divided.lower(variables, *inputs).compile()
    found = compiled(*jax.device_put((variables, *inputs), (whole, *[rows] * len(inputs))))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, expected)
    text = compiled.as_text()
    assert not [kind for kind in ("all-gather(", "all-to-all(", "collective-permute(") if kind in text], name
"""


def outcome(layer, variables, x):
    """Output, gradients, and how those change along a direction."""

    def loss(variables, x):
        return jnp.sin(layer.apply(variables, x).astype(jnp.float32)).sum()

    gradient = jax.grad(loss, argnums=(0, 1))
    tangents = jax.tree.map(jnp.cos, (variables, x))
    along = jax.jvp(partial(layer.apply), (variables, x), tangents)
    return along, jax.jvp(gradient, (variables, x), tangents)


@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("bfloat16", 2e-2)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (2, 7, 3, 5)])
def test_it_is_the_dense_layer_of_flax_in_all_derivatives(shape, bias, dtype, tolerance):
    x = jnp.asarray(np.random.default_rng(1).normal(size=shape), jnp.float32)
    ours, flax = Dense(11, bias, dtype=dtype), nn.Dense(11, bias, dtype=dtype)
    variables, others = jax.jit(lambda key: (ours.init(key, x), flax.init(key, x)))(jax.random.key(0))
    jax.tree.map(np.testing.assert_array_equal, variables, others)
    found, expected = jax.jit(lambda v: (outcome(ours, v, x), outcome(flax, v, x)))(variables)
    assert jax.eval_shape(ours.apply, variables, x).dtype == jnp.dtype(dtype)
    close = lambda a, b: np.testing.assert_allclose(  # noqa: E731
        np.float32(a), np.float32(b), rtol=tolerance, atol=tolerance * np.abs(np.float32(b)).max()
    )
    jax.tree.map(close, found, expected)


def test_it_has_the_name_of_the_dense_layer_of_flax():
    class Two(nn.Module):
        @nn.compact
        def __call__(self, x):
            return Dense(2)(Dense(3)(x))

    assert Two().init(jax.random.key(0), X)["params"].keys() == {"Dense_0", "Dense_1"}


def test_gradients_are_of_rows_and_held_on_a_cpu_alone():
    layer = Dense(11)
    variables = layer.init(jax.random.key(0), X)
    gradient = jax.jit(jax.grad(lambda variables: jnp.sin(layer.apply(variables, X)).sum()))
    lower = gradient.trace(variables).lower
    texts = {platform: lower(lowering_platforms=(platform,)).as_text() for platform in ("cpu", "cuda", "tpu")}
    held = {platform: text.count("optimization_barrier") for platform, text in texts.items()}
    assert held == {"cpu": 1, "cuda": 0, "tpu": 0}
    products = [line for line in texts["cpu"].splitlines() if "dot_general" in line]
    assert len(products) == 2 and not any("2x3x" in line for line in products)


def test_on_a_mesh_gradients_are_the_same_and_only_summed():
    ended = finish(*call(exec, EIGHT_DEVICES, {}))
    assert ended.code == 0, ended.text
