import jax
import jax.numpy as jnp
import pytest

from research.models.text.llama import llama


@pytest.mark.parametrize(
    "size, count", [("7B", 6738415616), ("13B", 13015864320), ("33B", 32528943616), ("65B", 65285660672)]
)
def test_the_published_sizes_have_their_number_of_parameters(size, count):
    model = llama(size, scan=True)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 3), jnp.int32)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count
    assert model.width // model.heads == 128
