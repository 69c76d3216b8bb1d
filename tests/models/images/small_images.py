"""What convolutional classifiers of small images have in common in tests."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from research.errors import UsageError

X = jnp.asarray(np.random.default_rng(0).normal(size=(7, 28, 28, 1)), jnp.float32)
LABELS = jnp.arange(7) % 3
NORMS = ("batchnorm", "groupnorm", "none")


def drawn(model, x=X, seed=0):
    """Return the collections of a model, drawn near what they begin as, which takes no compilation."""
    generator = np.random.default_rng(seed)

    def draw(path, leaf):
        deviation = 0.1 if leaf.ndim == 1 else np.sqrt(2 / np.prod(leaf.shape[:-1]))
        middle = 1.0 if path[-1].key in ("scale", "var") else 0.0
        return jnp.asarray(middle + deviation * generator.uniform(-1.7, 1.7, leaf.shape), jnp.float32)

    variables = dict(jax.eval_shape(model.init, jax.random.key(0), x))
    variables.pop("intermediates", None)
    return jax.tree_util.tree_map_with_path(draw, variables)


def intermediates(model, variables, x=X, **arguments):
    """Return what the model sows, by name."""
    apply = jax.jit(lambda v, x: model.apply(v, x, mutable=["intermediates", "batch_stats"], **arguments))
    sown = apply(variables, x)[1]["intermediates"]
    return {name: value[0] for name, value in sown.items() if isinstance(value, tuple)}


def shapes(model, x=X):
    """Return the shapes of what the model sows, by name, computing nothing."""
    variables = jax.eval_shape(model.init, jax.random.key(0), x)
    sown = jax.eval_shape(lambda v: intermediates(model, v, x), variables)
    return {name: value.shape for name, value in sown.items()}


def assert_runs_with_every_norm(model, x=X):
    """Assert that the model has logits and other parameters with each kind of normalization."""
    counts = set()
    for norm in NORMS:
        other = model.clone(norm=norm)
        variables = jax.eval_shape(other.init, jax.random.key(0), x)
        assert jax.eval_shape(other.apply, variables, x).shape == (len(x), model.classes)
        assert ("batch_stats" in variables) == (norm == "batchnorm")
        counts.add(len(jax.tree.leaves(variables)))
    assert len(counts) == len(NORMS)


def assert_needs(model, side):
    """Assert that images of `side` pixels are the smallest that the model takes."""
    for h, w in ((side, side - 1), (side - 1, side)):
        with pytest.raises(UsageError, match=f"an image of {h} x {w} is too small: the model needs {side} x {side}; "):
            jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, h, w, 3)))
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, side, side, 3)))
    assert jax.eval_shape(model.apply, variables, jnp.zeros((2, side, side, 3))).shape == (2, model.classes)


def assert_learns(model, steps=25, learning_rate=3e-3):
    """Assert that a few steps in bfloat16 teach the model the labels of seven images."""
    model = model.clone(dtype="bfloat16")
    optimizer = optax.adam(learning_rate)

    @jax.jit
    def step(params, rest, state, key):
        def loss(params):
            logits, updated = model.apply(
                {"params": params, **rest}, X, train=True, mutable=list(rest), rngs={"dropout": key}
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, LABELS).mean(), updated

        (value, rest), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(gradient, state)
        return optax.apply_updates(params, updates), rest, state, value

    rest = drawn(model)
    params = rest.pop("params")
    state, losses = optimizer.init(params), []
    for key in jax.random.split(jax.random.key(1), steps):
        params, rest, state, value = step(params, rest, state, key)
        losses.append(float(value))
    assert np.all(np.isfinite(losses)), losses
    assert np.mean(losses[-3:]) < 0.3 * losses[0], losses
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((params, rest)))
