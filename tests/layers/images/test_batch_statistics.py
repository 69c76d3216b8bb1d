import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.layers.images.batch_statistics import normalize_by_batch

C, EPSILON = 5, 0.1
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(2.0, 3.0, (3, 7, 2, C))
SCALE, BIAS = np.linspace(0.5, 2, C), np.linspace(-1, 1, C)
WEIGHTS = GENERATOR.normal(size=X.shape), GENERATOR.normal(size=C), GENERATOR.normal(size=C)


def plain(x, scale, bias, epsilon):
    """The definition."""
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    mean_, factor, bias_ = (each[None, None, None] for each in (mean, scale / jnp.sqrt(variance + epsilon), bias))
    return (x - mean_) * factor + bias_, mean, variance


def loss(function):
    """A number that depends on all results, and twice on images, scale and epsilon."""
    return lambda *inputs: sum((w * jnp.sin(y)).sum() for w, y in zip(WEIGHTS, function(*inputs), strict=True))


@pytest.mark.parametrize("distance", [0.0, 1000.0])
def test_values_and_all_derivatives_are_those_of_the_definition(distance):
    """Statistics are differentiated as well; far from zero too, and by reverse, forward and second derivatives."""
    with jax.enable_x64(True):
        inputs = tuple(jnp.asarray(each) for each in (X + distance, SCALE, BIAS, EPSILON))
        tangents = tuple(jnp.cos(each) for each in inputs)

        def run(function):
            of = loss(function)
            gradient = jax.grad(of, argnums=(0, 1, 2, 3))

            def along(*inputs):
                return sum((g * t).sum() for g, t in zip(gradient(*inputs), tangents, strict=True))

            twice = jax.grad(along, argnums=(0, 1, 3))(*inputs)
            return function(*inputs), gradient(*inputs), jax.jvp(of, inputs, tangents), twice

        leaves = zip(jax.tree.leaves(run(normalize_by_batch)), jax.tree.leaves(run(plain)), strict=True)
        for ours, expected in leaves:
            np.testing.assert_allclose(ours, expected, rtol=1e-8, atol=1e-8 * np.abs(expected).max())


def test_single_precision_is_as_exact_far_from_zero():
    x = (1000 + 0.1 * X).astype(np.float32)
    y, _, variance = normalize_by_batch(x, SCALE.astype(np.float32), BIAS.astype(np.float32), 1e-5)
    exact = x.astype(np.float64)
    np.testing.assert_allclose(variance, exact.var((0, 1, 2)), rtol=1e-3)
    np.testing.assert_allclose(y, plain(exact, SCALE, BIAS, 1e-5)[0], rtol=2e-3, atol=2e-3)


def test_several_at_once_in_a_scan_and_with_remat():
    xs = jnp.asarray(np.stack([X, X[::-1] ** 2, -X]), jnp.float32)
    of = jax.checkpoint(lambda x: loss(normalize_by_batch)(x, jnp.float32(SCALE), jnp.float32(BIAS), EPSILON))
    expected = jnp.stack([jax.grad(lambda x: loss(plain)(x, SCALE, BIAS, EPSILON))(x) for x in xs])
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(of)))(xs), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(jax.lax.scan(lambda _, x: (None, jax.grad(of)(x)), None, xs)[1], expected, 1e-4, 1e-5)


def test_the_gradient_needs_two_sums_over_pixels():
    """And mean and variance one each; the definition needs four for its gradient."""
    inputs = tuple(jnp.asarray(each, jnp.float32) for each in (X, SCALE, BIAS, X))

    def sums(function):
        def both(x, scale, bias, dy):
            y, pull = jax.vjp(lambda *inputs: function(*inputs, EPSILON)[0], x, scale, bias)
            return y, pull(dy)

        return jax.jit(both).lower(*inputs).compile().as_text().count(" reduce(")

    assert 0 < sums(normalize_by_batch) <= 4 < sums(plain)


def test_accelerators_get_the_same_numbers(monkeypatch):
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *inputs, default, **_: default(*inputs))
    inputs = tuple(jnp.asarray(each, jnp.float32) for each in (X, SCALE, BIAS, EPSILON))
    traced_anew = normalize_by_batch.__wrapped__
    for ours, expected in zip(traced_anew(*inputs), plain(*inputs), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-5)


def test_accelerators_have_no_barriers():
    inputs = tuple(jnp.asarray(each, jnp.float32) for each in (X, SCALE, BIAS, EPSILON))
    lower = jax.jit(jax.grad(loss(normalize_by_batch))).trace(*inputs).lower
    found = {platform: lower(lowering_platforms=(platform,)).as_text() for platform in ("cpu", "cuda", "tpu")}
    assert {platform: "optimization_barrier" in text for platform, text in found.items()} == {
        "cpu": True,
        "cuda": False,
        "tpu": False,
    }
