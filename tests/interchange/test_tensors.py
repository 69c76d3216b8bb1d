import jax
import numpy as np
import pytest

from research.errors import UsageError
from research.interchange import Array, Part, from_tensors, tensor_names, to_tensors
from research.models.naming import Flattened, InputsFirst

NAMES = {
    "stem": "conv1",
    "norm": "bn1",
    "block.query": Part("attn.qkv", 0, 3),
    "block.key": Part("attn.qkv", 1, 3),
    "block.value": Part("attn.qkv", 2, 3),
    "table": Array("pos_embed", (1, -1, 5)),
}


GENERATOR = np.random.default_rng(0)


def drawn(*shape):
    """No two are equal: the parts of one tensor are told apart."""
    return GENERATOR.normal(size=shape).astype(np.float32)


@pytest.fixture
def variables():
    return {
        "params": {
            "stem": {"kernel": drawn(2, 3, 5, 7), "bias": drawn(7)},
            "norm": {"scale": drawn(11), "bias": drawn(13)},
            "block": {name: {"kernel": drawn(5, width)} for name, width in (("query", 4), ("key", 4), ("value", 4))},
            "table": drawn(17, 5),
        },
        "batch_stats": {"norm": {"mean": drawn(19), "var": drawn(23)}},
    }


def test_every_leaf_has_the_name_and_the_axes_of_the_other_library(variables):
    tensors = to_tensors(variables, NAMES)
    assert tensors.keys() == tensor_names(variables, NAMES)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    assert shapes == {
        "conv1.weight": (7, 5, 2, 3),
        "conv1.bias": (7,),
        "bn1.weight": (11,),
        "bn1.bias": (13,),
        "bn1.running_mean": (19,),
        "bn1.running_var": (23,),
        "attn.qkv.weight": (12, 5),
        "pos_embed": (1, 17, 5),
    }
    params = variables["params"]
    assert tensors["conv1.weight"][6, 4, 1, 2] == params["stem"]["kernel"][1, 2, 4, 6]
    np.testing.assert_array_equal(tensors["attn.qkv.weight"][4:8], params["block"]["key"]["kernel"].T)
    np.testing.assert_array_equal(tensors["pos_embed"][0, 16], params["table"][16])


def test_there_and_back_is_the_same_bit_for_bit(variables):
    tensors = to_tensors(variables, NAMES) | {"bn1.num_batches_tracked": np.int64(3)}
    abstract = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), variables)
    for like in (variables, abstract):
        jax.tree.map(np.testing.assert_array_equal, from_tensors(tensors, like, NAMES), variables)


def test_numbers_take_the_type_of_the_parameter(variables):
    half = {name: tensor.astype(np.float16) for name, tensor in to_tensors(variables, NAMES).items()}
    stem = from_tensors(half, variables, NAMES)["params"]["stem"]["bias"]
    assert stem.dtype == np.float32
    np.testing.assert_array_equal(stem, half["conv1.bias"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bn1.bias": None}, 'the weights lack "bn1.bias"$'),
        ({"fc.bias": np.zeros(3)}, 'the weights have, and the model does not, "fc.bias"$'),
        ({f"fc.{n}": np.zeros(3) for n in range(4)}, '"fc.0", "fc.1", "fc.2" and "fc.3"$'),
        ({"conv1.weight": np.zeros((5, 7, 2, 3))}, r'"conv1.weight", \(5, 7, 2, 3\) where .* needs \(7, 5, 2, 3\)$'),
        ({"attn.qkv.weight": np.zeros((9, 5))}, r'"attn.qkv.weight", \(9, 5\) where .*query.kernel needs \(12, 5\)$'),
        ({"attn.qkv.weight": np.zeros(())}, r'"attn.qkv.weight", \(\) where'),
        ({"pos_embed": np.zeros((1, 16, 5))}, r'"pos_embed", \(1, 16, 5\) where params.table needs \(1, 17, 5\)$'),
        ({"pos_embed": np.zeros((17, 5))}, r'"pos_embed", \(17, 5\) where params.table needs \(1, 17, 5\)$'),
        (
            {"bn1.bias": None, "fc.bias": np.zeros(3), "conv1.bias": np.zeros(3)},
            r'the weights lack "bn1.bias"; they have, and the model does not, "fc.bias"; they have in another shape '
            r'"conv1.bias", \(3,\) where params.stem.bias needs \(7,\)$',
        ),
    ],
)
def test_what_does_not_fit_is_named(variables, change, said):
    tensors = to_tensors(variables, NAMES) | change
    with pytest.raises(UsageError, match=said):
        from_tensors({name: tensor for name, tensor in tensors.items() if tensor is not None}, variables, NAMES)


def test_a_parameter_without_another_name_is_refused(variables):
    variables["params"]["block"]["gate"] = {"kernel": np.zeros((5, 4))}
    with pytest.raises(UsageError, match='"block.gate.kernel" has no name in another library'):
        to_tensors(variables, NAMES)


def test_a_dense_layer_after_a_flatten_takes_the_channels_of_a_pixel_one_behind_the_other():
    h, w, c, k = 2, 3, 5, 7
    maps, kernel, bias = drawn(11, h, w, c), drawn(h * w * c, k), drawn(k)
    variables, names = {"params": {"dense": {"kernel": kernel, "bias": bias}}}, {"dense": Flattened("fc", h * w)}
    tensors = to_tensors(variables, names)
    there = maps.transpose(0, 3, 1, 2).reshape(11, -1) @ tensors["fc.weight"].T + tensors["fc.bias"]
    np.testing.assert_allclose(there, maps.reshape(11, -1) @ kernel + bias, rtol=1e-4, atol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, from_tensors(tensors, variables, names), variables)
    with pytest.raises(UsageError, match=r'"fc.weight", \(7, 31\) where params.dense.kernel needs \(7, 30\)$'):
        from_tensors(tensors | {"fc.weight": np.zeros((k, 31))}, variables, names)


def test_a_kernel_with_its_inputs_first_stays_as_it_is_and_its_parts_stand_side_by_side():
    layers = {name: {"kernel": drawn(5, 4), "bias": drawn(4)} for name in ("query", "key", "output")}
    names = {"query": InputsFirst("c", 0, 2), "key": InputsFirst("c", 1, 2), "output": InputsFirst("o")}
    tensors = to_tensors({"params": layers}, names)
    assert {name: tensor.shape for name, tensor in tensors.items()} == {
        "c.weight": (5, 8),
        "c.bias": (8,),
        "o.weight": (5, 4),
        "o.bias": (4,),
    }
    np.testing.assert_array_equal(tensors["c.weight"][:, 4:], layers["key"]["kernel"])
    jax.tree.map(np.testing.assert_array_equal, from_tensors(tensors, {"params": layers}, names)["params"], layers)
    with pytest.raises(UsageError, match=r'"c.weight", \(8, 5\) where params.query.kernel needs \(5, 8\)$'):
        from_tensors(tensors | {"c.weight": np.zeros((8, 5))}, {"params": layers}, names)
