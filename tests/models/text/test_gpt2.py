import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from research.errors import UsageError
from research.models.text.gpt2 import gpt2

GOLDEN = np.load(pathlib.Path(__file__).parents[2] / "golden" / "transformer.npz")
TINY = gpt2("124M", vocabulary=31, max_length=17, width=9, layers=2, heads=3, dropout=0.0, attention_dropout=0.0)


def from_transformers(kind):
    """Parameters, or their gradients, of GPT2LMHeadModel as ours; its dense kernels are not transposed."""

    def take(name):
        return GOLDEN[f"gpt2/{kind}/transformer.{name}"]

    def dense(name):
        return {"kernel": take(f"{name}.weight"), "bias": take(f"{name}.bias")}

    def norm(name):
        return {"scale": take(f"{name}.weight"), "bias": take(f"{name}.bias")}

    def block(name):
        kernels, biases = (
            np.split(take(f"{name}.attn.c_attn.weight"), 3, 1),
            np.split(take(f"{name}.attn.c_attn.bias"), 3),
        )
        parts = zip(("query", "key", "value"), kernels, biases, strict=True)
        attention = {part: {"kernel": kernel, "bias": bias} for part, kernel, bias in parts}
        return {
            "attention_norm": norm(f"{name}.ln_1"),
            "attention": attention | {"output": dense(f"{name}.attn.c_proj")},
            "feed_forward_norm": norm(f"{name}.ln_2"),
            "feed_forward": {"hidden": dense(f"{name}.mlp.c_fc"), "output": dense(f"{name}.mlp.c_proj")},
        }

    return {
        "embedding": {"tokens": {"embedding": take("wte.weight")}, "learned": {"table": take("wpe.weight")}},
        "decoder": {"layer_0": block("h.0"), "layer_1": block("h.1"), "norm": norm("ln_f")},
    }


def test_logits_and_gradients_equal_those_of_transformers():
    def loss(params):
        y = TINY.apply({"params": params}, GOLDEN["gpt2/tokens"])
        return (GOLDEN["gpt2/weight_y"] * y).sum(), y

    (_, y), gradient = jax.jit(jax.value_and_grad(loss, has_aux=True))(from_transformers("parameter"))
    np.testing.assert_allclose(y, GOLDEN["gpt2/y"], rtol=1e-5, atol=2e-5)

    def compare(a, b):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * max(np.abs(b).max(), 1))

    jax.tree.map(compare, gradient, from_transformers("gradient"))


@pytest.mark.parametrize(
    "size, count", [("124M", 124439808), ("355M", 354823168), ("774M", 774030080), ("1.5B", 1557611200)]
)
def test_the_published_sizes_have_their_number_of_parameters(size, count):
    model = gpt2(size, scan=True)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 3), jnp.int32)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count
    assert model.width // model.heads == 64


def test_branches_end_in_smaller_matrices_the_more_there_are():
    model = TINY.clone(width=96, layers=8, vocabulary=500, scan=True)
    params = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 3), jnp.int32))["params"]
    layers = params["decoder"]["layers"]
    for part, name, deviation in (
        ("attention", "query", 0.02),
        ("attention", "output", 0.02 / 4),
        ("feed_forward", "hidden", 0.02),
        ("feed_forward", "output", 0.02 / 4),
    ):
        np.testing.assert_allclose(layers[part][name]["kernel"].std(), deviation, rtol=0.03)
        assert not layers[part][name]["bias"].any()
    np.testing.assert_allclose(params["embedding"]["tokens"]["embedding"].std(), 0.02, rtol=0.03)


def test_an_unknown_size_names_those_there_are():
    with pytest.raises(UsageError, match='there is no size "125M"; did you mean "124M"'):
        gpt2("125M")
