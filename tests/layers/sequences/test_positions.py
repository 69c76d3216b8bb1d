import math
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.errors import UsageError
from research.layers.sequences.positions import (
    LearnedPositions,
    RelativePositions,
    alibi,
    alibi_slopes,
    consecutive,
    relative_buckets,
    rotary,
    sinusoidal,
    sinusoidal_2d,
)

GOLDEN = np.load(pathlib.Path(__file__).parents[2] / "golden" / "transformer.npz")
POSITIONS = np.array([[0, 1, 2, 5, 11], [3, 7, 0, 64, 301]])


@pytest.mark.parametrize("width", [6, 7, 1])
def test_sinusoidal_positions_are_their_formula(width):
    found = sinusoidal(jnp.asarray(POSITIONS), width)
    for b, l, feature in np.ndindex(*POSITIONS.shape, width):
        angle = POSITIONS[b, l] / 10000 ** ((feature - feature % 2) / width)
        expected = math.cos(angle) if feature % 2 else math.sin(angle)
        assert abs(float(found[b, l, feature]) - expected) < 5e-5


@pytest.mark.parametrize("first", [0, 3])
def test_known_positions_are_those_that_are_traced(first):
    """Sines become a constant and learned positions a slice of their table: no operation computes them at a step."""
    known, model = consecutive(5, first), LearnedPositions(max_length=11, width=3)
    np.testing.assert_array_equal(known, [[first, first + 1, first + 2, first + 3, first + 4]])
    np.testing.assert_allclose(sinusoidal(known, 6), sinusoidal(jnp.asarray(known), 6), rtol=1e-6, atol=1e-6)
    assert not jax.make_jaxpr(lambda: sinusoidal(known, 6))().eqns
    variables = model.init(jax.random.key(0), known)
    chex.assert_trees_all_equal(variables, model.init(jax.random.key(0), jnp.asarray(known)))

    def learned(variables, positions):
        return (model.apply(variables, positions) * jnp.arange(15.0).reshape(1, 5, 3)).sum()

    chex.assert_trees_all_equal(jax.grad(learned)(variables, known), jax.grad(learned)(variables, jnp.asarray(known)))
    with pytest.raises(UsageError, match=f"a sequence of {7 + first} positions"):
        LearnedPositions(max_length=6 + first, width=3).init(jax.random.key(0), consecutive(7, first))


def test_two_dimensional_positions_are_their_formula():
    table = sinusoidal_2d(3, 5, 12)
    assert table.shape == (3, 5, 12) and table.dtype == jnp.float32
    for row, column in np.ndindex(3, 5):
        parts = []
        for place, function in ((column, math.sin), (column, math.cos), (row, math.sin), (row, math.cos)):
            parts += [function(place / 10000 ** (index / 2)) for index in range(3)]
        np.testing.assert_allclose(table[row, column], parts, rtol=1e-5, atol=1e-6)
    with pytest.raises(UsageError, match="width divisible by 4, not 10"):
        sinusoidal_2d(3, 5, 10)


def test_learned_positions_are_rows_of_a_table():
    model = LearnedPositions(max_length=7, width=3)
    positions = jnp.array([[0, 6, 2], [1, 1, 5]])
    variables = model.init(jax.random.key(0), positions)
    np.testing.assert_array_equal(model.apply(variables, positions), variables["params"]["table"][positions])
    with pytest.raises(UsageError, match="8 positions is longer than the learned ones, max_length=7"):
        model.apply(variables, jnp.arange(8)[None])


def test_rotary_equals_that_of_llama():
    x, positions = GOLDEN["rotary/x"], GOLDEN["rotary/positions"]
    np.testing.assert_allclose(rotary(x, positions), GOLDEN["rotary/y"], rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("base", [10000.0, 7.0])
def test_products_of_rotary_vectors_depend_on_differences_alone(base):
    generator = np.random.default_rng(0)
    query, key = (jnp.asarray(generator.normal(size=(1, 1, 2, 10)), jnp.float32) for _ in range(2))

    def product(p, q):
        return (rotary(query, jnp.array([[p]]), base) * rotary(key, jnp.array([[q]]), base)).sum((0, 1, 3))

    reference = product(7, 3)
    for shift in (-3, 1, 50):
        np.testing.assert_allclose(product(7 + shift, 3 + shift), reference, rtol=1e-4, atol=1e-4)
    assert np.abs(product(8, 3) - reference).min() > 1e-3
    np.testing.assert_allclose(product(0, 0), (query * key).sum((0, 1, 3)), rtol=1e-6)
    turned = rotary(query, jnp.array([[23]]), base)
    np.testing.assert_allclose(jnp.linalg.norm(turned), jnp.linalg.norm(query), rtol=1e-5)


def test_the_base_of_rotary_positions_maps():
    x = np.random.default_rng(0).normal(size=(1, 5, 2, 4)).astype(np.float32)
    bases = jnp.array([10.0, 10000.0])
    together = jax.vmap(lambda base: rotary(x, jnp.arange(5)[None], base))(bases)
    for one, base in zip(together, bases, strict=True):
        np.testing.assert_allclose(one, rotary(x, jnp.arange(5)[None], float(base)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("side", ["encoder", "decoder"])
def test_buckets_and_bias_equal_those_of_t5(side):
    distance, bidirectional = jnp.arange(-301, 302), side == "encoder"
    np.testing.assert_array_equal(relative_buckets(distance, bidirectional), GOLDEN[f"t5_{side}/bucket"])
    np.testing.assert_array_equal(relative_buckets(distance, bidirectional, 12, 50), GOLDEN[f"t5_{side}/small"])
    model, positions = RelativePositions(3, bidirectional), jnp.arange(37)[None]
    bias = model.apply({"params": {"table": GOLDEN[f"t5_{side}/table"]}}, positions, positions)
    np.testing.assert_allclose(bias, GOLDEN[f"t5_{side}/bias"], rtol=1e-6)


def test_a_gradient_of_relative_positions_counts_the_pairs_in_each_bucket():
    model, positions = RelativePositions(2, bidirectional=True, buckets=8, max_distance=9), jnp.arange(11)[None]
    params = model.init(jax.random.key(0), positions, positions)
    gradient = jax.grad(lambda params: model.apply(params, positions, positions).sum())(params)["params"]["table"]
    buckets = relative_buckets(jnp.arange(11)[None] - jnp.arange(11)[:, None], True, 8, 9)
    np.testing.assert_array_equal(gradient, np.bincount(buckets.ravel(), minlength=8)[:, None].repeat(2, 1))


@pytest.mark.parametrize("heads", [1, 2, 3, 6, 8, 11, 12, 16, 20])
def test_slopes_equal_those_of_bloom(heads):
    np.testing.assert_allclose(alibi_slopes(heads), GOLDEN[f"alibi/slopes_{heads}"], rtol=1e-6)


def test_alibi_by_hand():
    bias = alibi(2, jnp.array([[3], [0]]), jnp.array([[0, 1, 5]]))
    np.testing.assert_allclose(bias[:, 0, 0], np.array([[-3, -2, -2], [0, -1, -5]]) / 16, rtol=1e-6)
    np.testing.assert_allclose(bias[:, 1, 0], np.array([[-3, -2, -2], [0, -1, -5]]) / 256, rtol=1e-6)


@pytest.mark.parametrize("kind", ["alibi", "relative"])
def test_biases_depend_on_distance_alone_and_go_on_past_any_length(kind):
    model = RelativePositions(3, bidirectional=True)
    variables = model.init(jax.random.key(0), jnp.arange(3)[None], jnp.arange(3)[None])

    def bias(query, key):
        query, key = jnp.asarray(query)[None], jnp.asarray(key)[None]
        return (alibi(3, query, key) if kind == "alibi" else model.apply(variables, query, key))[0]

    near = bias(np.arange(17), np.arange(17))
    np.testing.assert_array_equal(bias(np.arange(17) + 1000, np.arange(17) + 1000), near)
    np.testing.assert_array_equal(bias(np.arange(17), np.arange(400))[:, :, :17], near)
    far = bias([0], np.arange(1000))[:, 0]
    assert np.isfinite(far).all() and (near[:, 0, 1] != near[:, 0, 16]).all()
    if kind == "relative":
        np.testing.assert_array_equal(far[:, 128:], far[:, -1:].repeat(872, 1))
    else:
        assert (np.diff(far) < 0).all()
