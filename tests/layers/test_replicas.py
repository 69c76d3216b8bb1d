"""Replicas that share a batch compute what one device computes of the whole."""

import jax
import numpy as np
import pytest

from research.layers.replicas import draw_rows, mean_over_replicas, replicas
from tests.training.forking import call, finish

REPLICATED = """
import jax, jax.numpy as jnp, numpy as np
jax.config.update("jax_num_cpu_devices", 8)
from research import models
from research.layers.replicas import REPLICAS

N, B = 8, 16
generator = np.random.default_rng(0)
# Images of one replica are unlike those of another, so that statistics of a part are not those of the whole.
images = (generator.normal(size=(B, 7, 5, 3)) * np.arange(1, 1 + B)[:, None, None, None]).astype(np.float32)
tokens = generator.integers(5, 31, (B, 5)).astype(np.int32)
CASES = {
    "cnn": (models.CNN(channels=(3,), dense=(7,), dropout=0.3), images),
    "resnet": (models.ResNet(blocks=(1, 1), width=4, stem="small", stochastic_depth=0.5, dropout=0.3), images),
    "transformer": (
        models.TransformerClassifier(
            vocabulary=31, width=12, heads=2, layers=1, dropout=0.3, attention_dropout=0.3, stochastic_depth=0.3
        ),
        tokens,
    ),
    "lstm": (models.RecurrentClassifier(vocabulary=31, hidden=7, embedding=5, dropout=0.3), tokens),
    "seq2seq": (
        models.Seq2Seq(source_vocabulary=31, target_vocabulary=31, hidden=7, embedding=5, scheduled_sampling=0.5),
        {"tokens": tokens, "targets": tokens[:, :3]},
    ),
}


def step(model, variables, x, weight, part, whole):
    def loss(params):
        rngs = {"dropout": jax.random.key(1), "sampling": jax.random.key(2)}
        y, updated = model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"], rngs=rngs)
        return whole((weight * jnp.sin(y)).sum()) / B, updated

    (value, updated), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    return value, updated, jax.tree.map(part, gradient)


def norm(gradient):
    return np.sqrt(sum(np.sum(np.square(leaf, dtype=np.float64)) for leaf in jax.tree.leaves(gradient)))


for name, (model, x) in CASES.items():
    rngs = {"params": jax.random.key(0), "sampling": jax.random.key(0)}
    variables = jax.jit(model.init)(rngs, jax.tree.map(jnp.asarray, x))
    weight = generator.normal(size=jax.eval_shape(model.apply, variables, x).shape).astype(np.float32)
    one = jax.jit(lambda v, x, w: step(model, v, x, w, lambda leaf: leaf, lambda part: part))(variables, x, weight)
    divided = jax.tree.map(lambda rows: rows.reshape(N, B // N, *rows.shape[1:]), (x, weight))

    def replica(variables, x, weight):
        mean, total = (lambda leaf: jax.lax.pmean(leaf, REPLICAS)), (lambda part: jax.lax.psum(part, REPLICAS))
        return step(model, variables, x, weight, mean, total)

    several = jax.pmap(replica, axis_name=REPLICAS, in_axes=(None, 0, 0))(variables, *divided)
    assert norm(one[2]) > 0.01
    np.testing.assert_allclose(norm(jax.tree.map(lambda leaf: leaf[5], several[2])), norm(one[2]), rtol=1e-5)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(several), strict=True):
        b = np.asarray(b)
        np.testing.assert_array_equal(b, np.broadcast_to(b[:1], b.shape), err_msg=name)  # replicas do not part
        np.testing.assert_allclose(b[0], a, rtol=1e-4, atol=1e-5 * max(1.0, np.abs(a).max()), err_msg=name)
"""


@pytest.mark.slow
def test_replicas_of_a_model_give_the_loss_statistics_and_gradient_of_one_device():
    """Eight of them, with batch norm, dropout, stochastic depth and scheduled sampling.

    Each model is compiled for one device and for eight, in a process of their own.
    """
    ended = finish(*call(exec, REPLICATED, {}), seconds=300)
    assert ended.code == 0, ended.text


def test_a_program_that_is_no_replica_draws_as_before():
    key = jax.random.key(0)
    assert replicas() == 1 and mean_over_replicas(3.0) == 3.0
    drawn = draw_rows(lambda shape: jax.random.normal(key, shape), (5, 3))
    np.testing.assert_array_equal(drawn, jax.random.normal(key, (5, 3)))
    mapped = jax.vmap(lambda key: draw_rows(lambda shape: jax.random.normal(key, shape), (5, 3)))(key[None])
    np.testing.assert_array_equal(mapped[0], drawn)
