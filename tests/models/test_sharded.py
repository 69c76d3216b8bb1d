"""Models on a mesh of eight devices, parameters divided by their rules, give the loss and gradient of one device."""

import pytest

from tests.training.forking import call, finish

SHARDED = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_num_cpu_devices", 8)
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from research import models
from research.layers.partition import partition_spec

B = 16
generator = np.random.default_rng(0)
images = (generator.normal(size=(B, 8, 8, 3)) * np.linspace(0.5, 2, B)[:, None, None, None]).astype(np.float32)
tokens = {
    "tokens": generator.integers(5, 64, (B, 7)).astype(np.int32),
    "lengths": generator.integers(3, 8, B).astype(np.int32),
}
SIZES = {"width": 64, "heads": 4, "layers": 1, "dropout": 0.1}
DATA, FSDP, BOTH, ALL = (8, 1, 1), (1, 8, 1), (2, 4, 1), (2, 2, 2)
CASES = [
    (models.TransformerLanguageModel(vocabulary=256, **SIZES), tokens, (FSDP, ALL)),
    (models.TransformerLanguageModel(vocabulary=254, scan=True, remat="dots", tied=False, **SIZES), tokens, (ALL,)),
    (models.ViT(stochastic_depth=0.1, patch=2, attention_dropout=0.1, **SIZES), images, (ALL,)),
    (models.RecurrentLanguageModel(vocabulary=256, embedding=64, hidden=64, dropout=0.1, tied=True), tokens, (ALL,)),
    (models.VGG(blocks=(1, 1), width=16, grid=2, dense=(64, 64), norm="batchnorm"), images, (FSDP,)),
    (models.ConvNeXt(channels=(32, 64), blocks=(1, 1), stem="small", layer_scale=0.5), images, (DATA,)),
    (models.ResNet(blocks=(1, 1), width=32, stem="small", stochastic_depth=0.2), images, (BOTH,)),
]


def step(model, variables, x, weight):
    def loss(params):
        rngs = {"dropout": jax.random.key(1)}
        y, updated = model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"], rngs=rngs)
        return (weight * jnp.sin(y)).sum() / B, updated

    return jax.value_and_grad(loss, has_aux=True)(variables["params"])


def norm(gradient):
    return np.sqrt(sum(np.sum(np.square(leaf, dtype=np.float64)) for leaf in jax.tree.leaves(gradient)))


for model, x, shapes in CASES:
    variables = dict(jax.jit(model.init)(jax.random.key(0), x))
    weight = generator.normal(size=jax.eval_shape(model.apply, variables, x).shape).astype(np.float32)
    one = jax.jit(lambda v, x, w: step(model, v, x, w))(variables, x, weight)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(one[1]))
    for shape in shapes:
        mesh = Mesh(np.array(jax.devices()).reshape(shape), ("data", "fsdp", "tensor"))

        def by_rules(path, leaf):
            name = jax.tree_util.keystr(path, simple=True, separator=".")
            return NamedSharding(mesh, partition_spec(model.partition, name, leaf.shape, dict(mesh.shape)))

        state = jax.tree_util.tree_map_with_path(by_rules, variables)
        rows, whole = NamedSharding(mesh, PartitionSpec(("data", "fsdp"))), NamedSharding(mesh, PartitionSpec())
        divided = any(not sharding.is_fully_replicated for sharding in jax.tree.leaves(state))
        assert divided == (shape != DATA), shape
        arguments = jax.block_until_ready(jax.device_put((variables, x, weight), (state, rows, rows)))
        several = jax.jit(
            lambda v, x, w: step(model, v, x, w), out_shardings=((whole, None), state["params"])
        )(*arguments)
        where = f"{type(model).__name__} {shape}"
        np.testing.assert_allclose(several[0][0], one[0][0], rtol=1e-5, atol=1e-6, err_msg=where)
        np.testing.assert_allclose(norm(several[1]), norm(one[1]), rtol=1e-5, err_msg=where)
        for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(several), strict=True):
            np.testing.assert_allclose(b, a, rtol=1e-4, atol=1e-5 * max(1.0, largest), err_msg=where)
"""


@pytest.mark.slow
def test_a_model_on_a_mesh_gives_the_loss_and_gradient_of_one_device():
    """Nor has the compiler to gather, in the middle of the program, what it could not lay out.

    Each model is compiled for one device and for a mesh of eight, in a process of their own.
    """
    ended = finish(*call(exec, SHARDED, {}), seconds=300)
    assert ended.code == 0, ended.text
    assert "Involuntary full rematerialization" not in ended.text
