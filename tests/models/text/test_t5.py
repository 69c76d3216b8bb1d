import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.models.text.t5 import SIZES, t5

IDS = jnp.zeros((1, 3), jnp.int32)
COUNTS = {
    "small": 60506624,
    "base": 222903552,
    "large": 737668096,
    "3B": 2851598336,
    "11B": 11307321344,
    "v1.1-small": 76961152,
    "v1.1-base": 247577856,
    "v1.1-large": 783150080,
    "v1.1-XL": 2849757184,
    "v1.1-XXL": 11135332352,
}


@pytest.mark.parametrize("size", SIZES)
def test_the_published_sizes_have_their_number_of_parameters(size):
    model = t5(size, scan=True)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), {"tokens": IDS, "targets": IDS}))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == COUNTS[size]


def test_in_training_the_last_norm_of_each_stack_is_dropped_from_too():
    model = t5("small", layers=1, width=6, heads=2, head_width=4, feed_forward_width=5, source_vocabulary=11)
    only = model.clone(dropout=0.0, attention_dropout=0.0, feed_forward_dropout=0.0, final_dropout=0.5)
    batch = {"tokens": IDS, "targets": IDS}

    @jax.jit
    def both(key):
        variables = only.init(key, batch)
        return [only.apply(variables, batch, train, rngs={"dropout": key}) for train in (False, True)]

    plain, dropped = both(jax.random.key(0))
    assert np.abs(plain - dropped).max() > 1e-3
