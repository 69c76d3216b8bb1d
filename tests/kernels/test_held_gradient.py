from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from research.kernels.held_gradient import held_gradient

X = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)


def test_a_held_gradient_is_the_gradient_mapped_looped_and_computed_anew():
    def loss(hold, x):
        def step(x, _):
            return jax.checkpoint(lambda x: jnp.sin(hold(x) * 1.5))(x), None

        return (jax.lax.scan(step, x, None, length=3)[0] ** 2).sum()

    results = [jax.jit(jax.vmap(jax.hessian(partial(loss, hold))))(X) for hold in (held_gradient, lambda x: x)]
    np.testing.assert_allclose(*results, rtol=1e-5, atol=1e-6)
    assert np.abs(results[0]).max() > 0.1
