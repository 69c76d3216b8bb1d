import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.kernels import attention
from research.kernels.attention import attend
from research.kernels.attention_blocks import Blocks, in_blocks
from research.kernels.choice import forward_mode
from research.planning.flops import work

B, D = 2, 5
RANDOM = np.random.default_rng(0)
# heads, heads of keys, queries, keys, mask, bias, and what attend is told
CASES = {
    "full": (3, 3, 13, 13, None, None, {}),
    "causal": (3, 3, 13, 13, None, None, {"causal": True}),
    "window": (3, 3, 13, 13, None, None, {"window": 4}),
    "causal window": (4, 2, 13, 13, None, "each", {"causal": True, "window": 4}),
    "grouped": (6, 2, 13, 13, "keys", "each", {"causal": True}),
    "one for all": (4, 1, 11, 13, "pairs", "shared", {}),
    "long window": (3, 3, 13, 11, "keys", "shared", {"window": 9}),
    "more queries": (3, 3, 17, 7, None, "each", {"causal": True}),
    "beyond the window": (3, 3, 23, 7, None, None, {"window": 4}),
    "keys": (4, 2, 7, 13, "keys", None, {"window": 4}),
    "pairs": (3, 3, 13, 13, "pairs", None, {"causal": True, "window": 4}),
    "blind": (3, 3, 13, 13, "none", "each", {"window": 4}),
    "blind to all": (4, 2, 13, 11, "none", None, {"causal": True}),
}


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(attention, "BLOCK", 5)
    monkeypatch.setattr(attention, "LEAST_BLOCK", 3)


def drawn(h, k, l, s, mask, bias, dtype="float32"):
    """Queries, keys, values, mask and bias."""
    query, *known = (jnp.asarray(RANDOM.normal(size=(B, *shape, D)), dtype) for shape in ((l, h), (s, k), (s, k)))
    masks = {
        "keys": (np.arange(s)[None] < np.array([[s], [2]]))[:, None, None],
        "pairs": RANDOM.random((B, 1, l, s)) < 0.6,
        "none": np.zeros((B, 1, 1, s), bool),
    }
    biases = {"each": RANDOM.normal(size=(B, h, l, s)), "shared": RANDOM.normal(size=(1, 1, l, s))}
    return query, *known, None if mask is None else jnp.asarray(masks[mask]), bias and jnp.asarray(biases[bias], dtype)


def by_jax(query, key, value, mask, bias, causal=False, window=None):
    window = None if window is None else (window, 0 if causal else window)
    return jax.nn.dot_product_attention(
        query, key, value, bias, mask, is_causal=causal, local_window_size=window, implementation="xla"
    )


def with_gradients(function, query, key, value, mask, bias, **told):
    """The value, and the gradients of what has any."""

    def run(weight, query, key, value, bias):
        y, pull = jax.vjp(lambda *inputs: function(*inputs[:3], mask, inputs[3], **told), query, key, value, bias)
        return y, *pull(weight.astype(y.dtype))

    weight = jnp.asarray(np.random.default_rng(1).normal(size=query.shape))
    return jax.tree.leaves(jax.jit(run)(weight, query, key, value, bias))


def close(ours, expected, tolerance=1e-5):
    for one, other in zip(ours, expected, strict=True):
        assert one.dtype == other.dtype
        one, other = np.asarray(one, np.float32), np.asarray(other, np.float32)
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * max(1, np.abs(other).max()))


@pytest.mark.parametrize("case", CASES)
def test_blocks_and_all_at_once_are_what_jax_gives_gradients_too(case, small_blocks):
    *sizes, told = CASES[case]
    inputs = drawn(*sizes)
    assert attention.block_size(*sizes[2:4], told.get("window")) is not None
    expected = with_gradients(by_jax, *inputs, **told)
    close(with_gradients(attend, *inputs, **told), expected)

    def at_once(*inputs, causal=False, window=None):
        return attention.at_once(*inputs, causal, window)

    close(with_gradients(at_once, *inputs, **told), expected)


def test_sums_are_in_float32_where_products_are_in_bfloat16(small_blocks):
    query, *others = drawn(4, 2, 13, 13, "keys", "each", dtype="bfloat16")
    inputs = 8 * query, *others  # scores of tens: in bfloat16 they would be wrong by tenths
    exact = with_gradients(by_jax, *(each if each.dtype == bool else each.astype("float32") for each in inputs))

    def at_once(*inputs):
        return attention.at_once(*inputs, False, None)

    for function in (attend, at_once):
        ours = with_gradients(function, *inputs)
        assert {leaf.dtype for leaf in ours} == {jnp.dtype("bfloat16")}
        close([leaf.astype("float32") for leaf in ours], exact, 1.5e-2)


def test_several_at_once_in_a_loop_with_remat_and_second_derivatives(small_blocks):
    """As sweeps, models whose layers are a loop, and penalties on gradients have it."""
    many = [drawn(2, 1, 7, 7, None, None)[:3] for _ in range(2)]
    queries, keys, values = (jnp.stack(each) for each in zip(*many, strict=True))

    def loss(function, query, key, value):
        def layer(x, _):
            return x + function(x, key, value, None, None, causal=True, window=4), None

        return jnp.sin(jax.lax.scan(jax.checkpoint(layer), query, length=2)[0]).sum()

    def slopes(function, query, key, value):
        def once(key):
            return jnp.sin(function(query, key, value, None, None, window=4)).sum()

        again = jax.grad(lambda key: (jax.grad(once)(key) ** 2).sum())(key)
        return *jax.grad(loss, argnums=(1, 2, 3))(function, query, key, value), again

    ours, expected = (
        jax.jit(jax.vmap(lambda *inputs, of=function: slopes(of, *inputs)))(queries, keys, values)
        for function in (attend, by_jax)
    )
    close(ours, expected, 1e-4)


def test_forward_mode_is_there_where_it_is_asked_for(small_blocks):
    query, *others = drawn(2, 2, 13, 13, "keys", None)
    tangent = jnp.cos(query)
    expected = jax.jvp(lambda query: by_jax(query, *others), (query,), (tangent,))
    with forward_mode(True):
        close(jax.jvp(lambda query: attend(query, *others), (query,), (tangent,)), expected)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda query: attend(query, *others), (query,), (tangent,))


@pytest.mark.parametrize("told", [{}, {"causal": True, "window": 4}])
def test_accelerators_get_what_jax_gives(told, small_blocks):
    inputs = drawn(4, 2, 13, 13, "keys", "each")

    def lowered(function, platform):
        def loss(query, key, value, bias):
            return function(query, key, value, inputs[3], bias, **told).sum()

        traced = jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3))).trace(*inputs[:3], inputs[4])
        return traced.lower(lowering_platforms=(platform,)).as_text()

    for platform in ("cuda", "tpu"):
        ours, expected = lowered(attend, platform), lowered(by_jax, platform)
        assert "stablehlo.while" not in ours
        for operation in ("dot_general", "exponential", "select", "reduce", "transpose"):
            assert ours.count(f"stablehlo.{operation}") == expected.count(f"stablehlo.{operation}")
    assert "stablehlo.while" in lowered(attend, "cpu")


def test_memory_grows_with_the_length_and_not_its_square():
    """Of a gradient in a loop over layers, where what a form keeps is kept for each of them."""

    def temporary(length):
        x = jax.ShapeDtypeStruct((1, length, 4, 8), jnp.float32)

        def loss(x):
            def layer(x, _):
                return x + attend(x, x, x, causal=True), None

            return jax.lax.scan(layer, x, length=3)[0].sum()

        return jax.jit(jax.grad(loss)).lower(x).compile().memory_analysis().temp_size_in_bytes

    assert temporary(2048) < 2.2 * temporary(1024)


def test_with_a_window_the_work_grows_with_the_length():
    def flops(length):
        x = jax.ShapeDtypeStruct((1, length, 2, 8), jnp.float32)
        blocks = Blocks(length, length, 64, True, 16)
        return work(jax.make_jaxpr(jax.grad(lambda x: in_blocks(blocks, x, x, x, None, None).sum()))(x)).single

    assert flops(1024) == 4 * flops(256)
    rows, seen = 256, 64 + 16
    assert flops(256) == 7 * 2 * rows * seen * 2 * 8  # two products, then one of them again, and four gradients
